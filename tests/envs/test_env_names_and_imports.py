"""Env ids, light imports, and messages for wrong arguments, actions and resets."""

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.engine.vector_env import MujocoVectorEnv
from robossl.envs.reacher import Reacher

from robossl import registry
from robossl.core.errors import UsageError

IDS = robossl.envs.register()


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_second_registration_changes_nothing() -> None:
    before = dict(gym.registry)
    assert robossl.envs.register() == IDS
    assert dict(gym.registry) == before


def test_suite_is_registered() -> None:
    suite = {"Reacher", "ReacherHard", "CartPoleSwingUp", "CartPoleBalance"}
    assert {f"robossl/{name}-v0" for name in suite} <= set(IDS)


def test_package_exports_what_it_lists() -> None:
    for name in robossl.envs.__all__:
        assert getattr(robossl.envs, name) is not None
    with pytest.raises(AttributeError, match="Rbot"):
        robossl.envs.Rbot  # noqa: B018


def test_registration_imports_no_physics() -> None:
    program = (
        "import sys, robossl.envs as e; e.register(); e.Robot, e.Task, e.GoalTask, e.Marker; "
        "print([m for m in ('mujoco', 'torch', 'stable_baselines3') if m in sys.modules])"
    )
    assert run(program).stdout.strip() == "[]"


def test_new_process_makes_env_without_warnings() -> None:
    program = (
        "import gymnasium as g; e = g.make('robossl:robossl/Reacher-v0'); print(e.reset(seed=0)[0].keys())"
    )
    done = run(program, "-W", "error")
    assert "desired_goal" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs: expected 1 or more, got 0"),
        ({"nthread": -1}, "nthread: expected 0 or more, got -1"),
        ({"substeps": 0}, "substeps: expected 1 or more, got 0"),
        ({"substeps": "2"}, "substeps: expected a number, got '2'"),
        ({"max_episode_steps": "9"}, "max_episode_steps: expected a number, got '9'"),
        ({"max_episode_steps": -3}, "max_episode_steps: expected -1 or more, got -3"),
        ({"autoreset_mode": "x"}, "unknown autoreset_mode 'x'; available: NextStep, SameStep, Disabled"),
        ({"camera": "abov"}, "did you mean 'above'"),
        ({"render_mode": "ascii"}, "rgb_array"),
        ({"task": "robossl.envs.reacher:Reecher"}, "did you mean 'Reacher'"),
        ({"task": 3}, "expected a Task"),
    ],
)
def test_wrong_argument_is_refused(arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        MujocoVectorEnv(**({"task": "robossl.envs.reacher:Reacher"} | arguments))


class NoAchievedGoal(Reacher):
    """A goal task that does not define its achieved goal."""

    achieved_slice = None


def test_goal_task_without_achieved_goal_is_refused() -> None:
    message = r"expected NoAchievedGoal\.achieved_slice or NoAchievedGoal\.achieved\(robot\), got neither"
    with pytest.raises(UsageError, match=message):
        MujocoVectorEnv(NoAchievedGoal())


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((2, 2)), r"shape \(3, 2\), got \(2, 2\)"),
        (np.full((3, 2), np.nan), "finite"),
        (np.full((3, 2), np.inf), "finite"),
        (np.full((3, 2), "a"), "numbers"),
    ],
)
def test_wrong_action_is_refused(action, message) -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3)
    with pytest.raises(UsageError, match="before reset"):
        envs.step(np.zeros((3, 2)))
    envs.reset(seed=0)
    with pytest.raises(UsageError, match=message):
        envs.step(action)
    envs.step(np.zeros((3, 2)))


def test_wrong_reset_is_refused() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, max_episode_steps=1, autoreset_mode="Disabled")
    for options, message in [
        ({"mask": 1}, "unknown reset options: mask; available: randomization, reset_mask"),
        ({"reset_mask": np.ones(2, bool)}, "3 booleans"),
        ({"reset_mask": np.zeros(3, bool)}, "not all false"),
        ({"reset_mask": np.ones(3)}, "3 booleans"),
    ]:
        with pytest.raises(UsageError, match=message):
            envs.reset(options=options)
    with pytest.raises(UsageError, match="3 seeds"):
        envs.reset(seed=[1, 2])
    envs.reset(seed=0)
    envs.step(np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"sub-environments \[0, 1, 2\] have ended"):
        envs.step(np.zeros((3, 2)))


def test_actions_are_clipped() -> None:
    observations = []
    for size in (1.0, 1e30):
        envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
        envs.reset(seed=0)
        observations.append([envs.step(np.full((2, 2), size))[0]["observation"] for _ in range(5)])
    assert np.array_equal(*observations)


def test_reset_does_not_change_the_mask() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    envs.reset(options=options)
    assert options["reset_mask"].tolist() == [True, False]


def test_an_unknown_id_of_a_package_lists_those_that_it_registers() -> None:
    with pytest.raises(UsageError, match=r"'gymnasium' registers no env 'CartPool-v1'; .*'CartPole-v1'"):
        registry.env_spec("gymnasium:CartPool-v1")
    with pytest.raises(UsageError, match=r"package 'json' registers no env 'A-v0'; available: none"):
        registry.env_spec("json:A-v0")


def test_a_package_that_imports_mujoco_gets_a_rendering_backend(tmp_path) -> None:
    (tmp_path / "early.py").write_text("import os\nBACKEND = os.environ.get('MUJOCO_GL')\nimport mujoco\n")
    code = (
        "import sys; sys.path.insert(0, '.'); from robossl import registry\n"
        "try: registry.trust_env('early:A-v0')\n"
        "except Exception: pass\n"
        "import early; from robossl.envs.engine.mujoco_setup import headless\n"
        "print(early.BACKEND in ('egl', 'osmesa') or not headless())"
    )
    env = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_only_unknown_arguments_are_named() -> None:
    with pytest.raises(UsageError, match=r"CartPoleSwingUp-v0 does not take nonsense \("):
        registry.make_envs("robossl/CartPoleSwingUp-v0?max_episode_steps=10&nonsense=1", 1)
