"""Laws of image observations: with and without numbers, with and without goals."""

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


def make(env_id: str, num_envs: int = 2, **arguments):
    envs = gym.make_vec(env_id, num_envs=num_envs, **{"pixels": SIZE} | arguments)
    envs.reset(seed=0)
    return envs


def step_randomly(envs, steps: int, seed: int = 0):
    random = np.random.default_rng(seed)
    for _ in range(steps):
        yield envs.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))


def leaves(observation) -> dict:
    return observation if isinstance(observation, dict) else {"": observation}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_env_checkers_pass(env_id, both) -> None:
    env = gym.make(env_id, pixels=SIZE, proprioception=both).unwrapped
    check_env(env, skip_render_check=True)
    sb3_check_env(env, skip_render_check=True)


def test_observation_space_has_one_of_four_forms() -> None:
    image = spaces.Box(0, 255, (*SIZE, 3), np.uint8)
    assert make(PLAIN).single_observation_space == image
    both = make(PLAIN, proprioception=True).single_observation_space
    assert list(both) == ["observation", "pixels"]
    assert both["pixels"] == image
    assert both["observation"] == gym.make_vec(PLAIN).single_observation_space
    goal = make(GOAL).single_observation_space
    assert is_goal_space(goal)
    assert goal["observation"] == image
    assert goal["desired_goal"] == gym.make_vec(GOAL).single_observation_space["desired_goal"]
    both = make(GOAL, proprioception=True).single_observation_space
    assert is_goal_space(both)
    assert set(model_inputs(both)) == {"observation", "pixels"}
    assert [path for path, leaf in model_inputs(both).items() if is_image(leaf)] == ["pixels"]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_vector_env_equals_single_envs_to_the_pixel(env_id, mode, both) -> None:
    settings = {"pixels": SIZE, "proprioception": both, "max_episode_steps": 4}
    native = gym.make_vec(env_id, num_envs=3, autoreset_mode=mode, **settings)
    sync = gym.make_vec(
        env_id, 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **settings
    )
    assert native.observation_space == sync.observation_space
    ours, theirs = native.reset(seed=5)[0], sync.reset(seed=5)[0]
    random = np.random.default_rng(0)
    for _ in range(10):
        for name, value in leaves(theirs).items():
            assert np.array_equal(leaves(ours)[name], value), name
        assert ours in native.observation_space
        action = random.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        (ours, _, terminated, truncated, infos), (theirs, *_, expected) = (
            native.step(action),
            sync.step(action),
        )
        assert ("final_obs" in infos) == ("final_obs" in expected)
        if "final_obs" in infos:
            for a, b in zip(infos["final_obs"], expected["final_obs"], strict=True):
                assert (a is None) == (b is None)
                assert a is None or all(np.array_equal(leaves(a)[k], v) for k, v in leaves(b).items())
        if mode == AutoresetMode.DISABLED and (terminated | truncated).any():
            options = {"reset_mask": terminated | truncated}
            ours, theirs = native.reset(options=options)[0], sync.reset(options=options)[0]
    native.close()
    sync.close()


@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_images_change_neither_numbers_nor_rewards(env_id) -> None:
    plain, with_images = gym.make_vec(env_id, num_envs=2), make(env_id, proprioception=True)
    plain.reset(seed=0)
    for expected, result in zip(step_randomly(plain, 6), step_randomly(with_images, 6), strict=True):
        numbers = expected[0]["observation"] if isinstance(expected[0], dict) else expected[0]
        assert np.array_equal(result[0]["observation"], numbers)
        assert np.array_equal(result[1], expected[1])


def test_image_observation_does_not_show_the_goal() -> None:
    """The same pose with two goals gives equal observations and different rendered frames."""
    envs = make(GOAL, num_envs=1, render_mode="rgb_array", render_size=SIZE)
    physics, task = envs.get_physics_state(), envs.simulation.task
    goals = [task.sample_goal(np.random.default_rng(seed))[None] for seed in (1, 2)]
    observed = [envs.set_physics_state(physics, goal=goal)["observation"] for goal in goals]
    assert np.array_equal(*observed)
    frames = []
    for goal in goals:
        envs.set_physics_state(physics, goal=goal)
        frames.append(envs.render()[0])
    assert not np.array_equal(*frames)


def test_goal_observation_is_the_image_at_the_goal() -> None:
    envs = make(GOAL)
    goal = envs.observation()["desired_goal"]
    numbers = gym.make_vec(GOAL, num_envs=2)
    numbers.reset(seed=0)
    at_goal = envs.set_physics_state(envs.physics_from_observation(numbers.goal_observation(goal)), goal=goal)
    np.testing.assert_allclose(at_goal["achieved_goal"], goal, atol=1e-6)
    images = envs.goal_observation(goal)
    assert images.shape == (2, *SIZE, 3)
    assert np.array_equal(images, at_goal["observation"])
    both = make(GOAL, proprioception=True).goal_observation(goal)
    assert np.array_equal(both["pixels"], images)
    assert np.array_equal(both["observation"], numbers.goal_observation(goal))


def test_images_differ_by_step_and_by_sub_environment() -> None:
    envs = make(PLAIN, num_envs=3)
    images = np.stack([step[0] for step in step_randomly(envs, 5)])  # (5, 3, H, W, 3)
    assert len(np.unique(images.reshape(15, -1), axis=0)) == 15
    assert images.std() > 5


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("env_id", [GOAL, PLAIN])
def test_stream_stores_images_and_the_render_backend(env_id, both, tmp_path) -> None:
    envs = make(env_id, num_envs=2, proprioception=both, max_episode_steps=5)
    recorder = Recorder.create(envs, tmp_path / "stream", seed=0)
    observed = [recorder.reset(seed=0)[0]] + [step[0] for step in step_randomly(recorder, 4)]
    recorder.finish()
    stream = recorder.stream
    assert stream.header["backend"] == envs.metadata["render_backend"]
    assert stream.header["backend"]
    path = "pixels" if both else "observation"
    name = path if env_id == PLAIN and not both else f"observation.{path}"
    stored = stream.read(1, 0, 5)["observation" if name == "observation" else name]
    expected = [leaves(o).get(path, leaves(o).get(""))[1] for o in observed]
    assert np.array_equal(stored, expected)


def test_env_without_images_has_no_render_backend() -> None:
    envs = gym.make_vec(GOAL, num_envs=1)
    assert envs.metadata["render_backend"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"proprioception": True}, "give pixels"),
        ({"pixels": (64,)}, "height, width"),
        ({"pixels": 64}, "height"),
    ],
)
def test_wrong_image_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        gym.make_vec(GOAL, num_envs=1, **arguments)
