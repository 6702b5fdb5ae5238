"""Names, light imports, and what is said to a wrong request."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.engine.vector_env import MujocoVectorEnv
from robossl.envs.reacher import Reacher

from robossl.core.errors import UsageError

IDS = robossl.envs.register()


def test_registering_twice_changes_nothing() -> None:
    before = dict(gym.registry)
    assert robossl.envs.register() == IDS
    assert dict(gym.registry) == before


def test_the_names_of_the_suite_are_there() -> None:
    suite = {"Reacher", "ReacherHard", "CartPoleSwingUp", "CartPoleBalance"}
    assert {f"robossl/{name}-v0" for name in suite} <= set(IDS)


def test_registering_loads_no_physics() -> None:
    words = (
        "import sys, robossl.envs; robossl.envs.register(); "
        "print([m for m in ('mujoco', 'torch', 'stable_baselines3') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_fresh_process_makes_an_env() -> None:
    words = (
        "import gymnasium as g; e = g.make('robossl:robossl/Reacher-v0'); print(e.reset(seed=0)[0].keys())"
    )
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", words], capture_output=True, text=True, check=True
    )
    assert "desired_goal" in said.stdout
    assert not said.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_envs": 0}, "num_envs >= 1"),
        ({"nthread": -1}, "nthread >= 0"),
        ({"camera": "abov"}, "did you mean 'above'"),
        ({"render_mode": "ascii"}, "rgb_array"),
        ({"task": "robossl.envs.reacher:Reecher"}, "did you mean 'Reacher'"),
        ({"task": 3}, "expected a Task"),
    ],
)
def test_wrong_arguments_are_answered(arguments, words) -> None:
    with pytest.raises(UsageError, match=words):
        MujocoVectorEnv(**({"task": "robossl.envs.reacher:Reacher"} | arguments))


class Mute(Reacher):
    """A goal task that forgot to say where its achieved goal is."""

    achieved_slice = None


def test_a_goal_task_that_tells_no_achieved_goal_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Mute does not tell what is achieved; expected achieved\(robot\)"):
        MujocoVectorEnv(Mute())


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros((2, 2)), r"shape \(3, 2\), got \(2, 2\)"),
        (np.full((3, 2), np.nan), "finite"),
        (np.full((3, 2), np.inf), "finite"),
        (np.full((3, 2), "a"), "numbers"),
    ],
)
def test_wrong_actions_are_answered(action, words) -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3)
    with pytest.raises(UsageError, match="before reset"):
        envs.step(np.zeros((3, 2)))
    envs.reset(seed=0)
    with pytest.raises(UsageError, match=words):
        envs.step(action)
    envs.step(np.zeros((3, 2)))


def test_wrong_resets_are_answered() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, max_episode_steps=1, autoreset_mode="Disabled")
    for options, words in [
        ({"mask": 1}, "there are: reset_mask"),
        ({"reset_mask": np.ones(2, bool)}, "3 booleans"),
        ({"reset_mask": np.zeros(3, bool)}, "not all false"),
        ({"reset_mask": np.ones(3)}, "3 booleans"),
    ]:
        with pytest.raises(UsageError, match=words):
            envs.reset(options=options)
    with pytest.raises(UsageError, match="3 seeds"):
        envs.reset(seed=[1, 2])
    envs.reset(seed=0)
    envs.step(np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"lanes \[0, 1, 2\] have ended"):
        envs.step(np.zeros((3, 2)))


def test_huge_actions_are_held_at_the_limit() -> None:
    futures = []
    for size in (1.0, 1e30):
        envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
        envs.reset(seed=0)
        futures.append([envs.step(np.full((2, 2), size))[0]["observation"] for _ in range(5)])
    assert np.array_equal(*futures)


def test_a_reset_mask_stays_the_users() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    envs.reset(options=options)
    assert options["reset_mask"].tolist() == [True, False]
