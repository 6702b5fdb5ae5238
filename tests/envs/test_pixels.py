"""What is promised of envs that observe pictures: with or without numbers, with or without goals."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from robossl.core.errors import UsageError
from robossl.core.spaces import is_goal_space, is_image, model_inputs
from robossl.streams import Recorder

robossl.envs.register()
pytestmark = pytest.mark.usefixtures("gl")

GOAL, PLAIN = "robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"
SIZE = (40, 48)


def lanes(env_id: str, num_envs: int = 2, **arguments):
    envs = gym.make_vec(env_id, num_envs=num_envs, **{"pixels": SIZE} | arguments)
    envs.reset(seed=0)
    return envs


def acting(envs, steps: int, seed: int = 0):
    random = np.random.default_rng(seed)
    for _ in range(steps):
        yield envs.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))


def parts(observation) -> dict:
    return observation if isinstance(observation, dict) else {"": observation}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_the_outside_judges_find_nothing(env_id, both) -> None:
    env = gym.make(env_id, pixels=SIZE, proprioception=both).unwrapped
    check_env(env, skip_render_check=True)
    sb3_check_env(env, skip_render_check=True)


def test_the_four_shapes_of_an_observation() -> None:
    picture = spaces.Box(0, 255, (*SIZE, 3), np.uint8)
    assert lanes(PLAIN).single_observation_space == picture
    both = lanes(PLAIN, proprioception=True).single_observation_space
    assert list(both) == ["observation", "pixels"]
    assert both["pixels"] == picture
    assert both["observation"] == gym.make_vec(PLAIN).single_observation_space
    goal = lanes(GOAL).single_observation_space
    assert is_goal_space(goal)
    assert goal["observation"] == picture
    assert goal["desired_goal"] == gym.make_vec(GOAL).single_observation_space["desired_goal"]
    both = lanes(GOAL, proprioception=True).single_observation_space
    assert is_goal_space(both)
    assert set(model_inputs(both)) == {"observation", "pixels"}
    assert [path for path, leaf in model_inputs(both).items() if is_image(leaf)] == ["pixels"]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_vector_equals_single_to_the_last_pixel(env_id, mode, both) -> None:
    settings = {"pixels": SIZE, "proprioception": both, "max_episode_steps": 4}
    native = gym.make_vec(env_id, num_envs=3, autoreset_mode=mode, **settings)
    sync = gym.make_vec(
        env_id, 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **settings
    )
    assert native.observation_space == sync.observation_space
    ours, theirs = native.reset(seed=5)[0], sync.reset(seed=5)[0]
    random = np.random.default_rng(0)
    for _ in range(10):
        for name, value in parts(theirs).items():
            assert np.array_equal(parts(ours)[name], value), name
        assert ours in native.observation_space
        action = random.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        (ours, _, ended, cut, infos), (theirs, *_, expected) = native.step(action), sync.step(action)
        assert ("final_obs" in infos) == ("final_obs" in expected)
        if "final_obs" in infos:
            for a, b in zip(infos["final_obs"], expected["final_obs"], strict=True):
                assert (a is None) == (b is None)
                assert a is None or all(np.array_equal(parts(a)[k], v) for k, v in parts(b).items())
        if mode == AutoresetMode.DISABLED and (ended | cut).any():
            options = {"reset_mask": ended | cut}
            ours, theirs = native.reset(options=options)[0], sync.reset(options=options)[0]
    native.close()
    sync.close()


@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_pictures_change_nothing_else(env_id) -> None:
    plain, seeing = gym.make_vec(env_id, num_envs=2), lanes(env_id, proprioception=True)
    plain.reset(seed=0)
    for expected, seen in zip(acting(plain, 6), acting(seeing, 6), strict=True):
        numbers = expected[0]["observation"] if isinstance(expected[0], dict) else expected[0]
        assert np.array_equal(seen[0]["observation"], numbers)
        assert np.array_equal(seen[1], expected[1])


def test_the_goal_is_no_part_of_what_is_seen() -> None:
    """The same pose with two goals: one picture for the model, two for people."""
    envs = lanes(GOAL, num_envs=1, render_mode="rgb_array", render_size=SIZE)
    rows, task = envs.get_physics_state(), envs.simulation.task
    goals = [task.sample_goal(np.random.default_rng(seed))[None] for seed in (1, 2)]
    seen = [envs.set_physics_state(rows, goal=goal)["observation"] for goal in goals]
    assert np.array_equal(*seen)
    shown = []
    for goal in goals:
        envs.set_physics_state(rows, goal=goal)
        shown.append(envs.render()[0])
    assert not np.array_equal(*shown)


def test_how_a_goal_looks() -> None:
    """goal_observation is the picture that is seen where the goal is reached."""
    envs = lanes(GOAL)
    goal = envs.observation()["desired_goal"]
    numbers = gym.make_vec(GOAL, num_envs=2)
    numbers.reset(seed=0)
    seen = envs.set_physics_state(envs.physics_from_observation(numbers.goal_observation(goal)), goal=goal)
    np.testing.assert_allclose(seen["achieved_goal"], goal, atol=1e-6)
    pictures = envs.goal_observation(goal)
    assert pictures.shape == (2, *SIZE, 3)
    assert np.array_equal(pictures, seen["observation"])
    both = lanes(GOAL, proprioception=True).goal_observation(goal)
    assert np.array_equal(both["pixels"], pictures)
    assert np.array_equal(both["observation"], numbers.goal_observation(goal))


def test_every_moment_looks_different_and_every_lane_its_own() -> None:
    envs = lanes(PLAIN, num_envs=3)
    seen = np.stack([step[0] for step in acting(envs, 5)])  # (5, 3, H, W, 3)
    assert len(np.unique(seen.reshape(15, -1), axis=0)) == 15
    assert seen.std() > 5


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_a_stream_keeps_the_pictures_and_says_who_drew_them(env_id, both, tmp_path) -> None:
    envs = lanes(env_id, num_envs=2, proprioception=both, max_episode_steps=5)
    recorder = Recorder.create(envs, tmp_path / "stream", seed=0)
    seen = [recorder.reset(seed=0)[0]] + [step[0] for step in acting(recorder, 4)]
    recorder.finish()
    stream = recorder.stream
    assert stream.header["backend"] == envs.metadata["render_backend"]
    assert stream.header["backend"]
    path = "pixels" if both else "observation"
    name = path if env_id == PLAIN and not both else f"observation.{path}"
    stored = stream.read(1, 0, 5)["observation" if name == "observation" else name]
    expected = [parts(o).get(path, parts(o).get(""))[1] for o in seen]
    assert np.array_equal(stored, expected)


def test_without_pictures_nobody_draws() -> None:
    envs = gym.make_vec(GOAL, num_envs=1)
    assert envs.metadata["render_backend"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"proprioception": True}, "give pixels"),
        ({"pixels": (64,)}, "height, width"),
        ({"pixels": 64}, "height"),
    ],
)
def test_wrong_senses_are_answered(arguments, words) -> None:
    with pytest.raises(UsageError, match=words):
        gym.make_vec(GOAL, num_envs=1, **arguments)
