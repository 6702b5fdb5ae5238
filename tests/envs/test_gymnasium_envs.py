"""Vector envs of any Gymnasium id: time limit, choice of vectorization, rendering, errors."""

from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from robossl.envs.engine.gymnasium_envs import make_gymnasium_envs

from robossl import registry
from robossl.core.errors import UsageError

robossl.envs.register()


class Slow(gym.Env):
    """An env whose step takes so long that several processes are faster."""

    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        import time

        time.sleep(0.01)
        return int(action), 0.0, False, False, {}


gym.register("Slow-v0", Slow, max_episode_steps=5)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "robossl/Reacher-v0"])
def test_vector_env_has_the_time_limit_of_its_id(env_id) -> None:
    envs = make_gymnasium_envs(env_id, 3)
    assert envs.num_envs == 3
    assert envs.spec.id == env_id
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    envs.reset(seed=0)
    envs.action_space.seed(0)
    limit, ended = gym.spec(env_id).max_episode_steps, np.zeros(3, bool)
    for _ in range(limit):
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        ended |= terminated | truncated
    assert ended.all()
    assert envs.render_frame(0) is None
    envs.close()


def test_fast_env_is_sync_and_slow_env_async() -> None:
    assert isinstance(make_gymnasium_envs("CartPole-v1", 4).env, gym.vector.SyncVectorEnv)
    envs = make_gymnasium_envs("Slow-v0", 4)
    assert isinstance(envs.env, gym.vector.AsyncVectorEnv)
    envs.close()


def test_sync_and_async_give_the_same_trajectory() -> None:
    trajectories = []
    for vectorization in ("sync", "async"):
        envs = make_gymnasium_envs("CartPole-v1", 2, vectorization=vectorization)
        envs.action_space.seed(1)
        trajectory = [envs.reset(seed=3)[0]] + [envs.step(envs.action_space.sample())[0] for _ in range(40)]
        trajectories.append(np.stack(trajectory).tobytes())
        envs.close()
    assert trajectories[0] == trajectories[1]


def test_mujoco_prints_nothing_and_writes_no_file(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    envs = make_gymnasium_envs("HalfCheetah-v5", 2)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    envs.close()
    assert not list(tmp_path.iterdir())
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == ""


def test_render_frame_renders_one_sub_environment(gl) -> None:
    envs = make_gymnasium_envs("robossl/Reacher-v0", 2, render_mode="rgb_array", render_size=(16, 24))
    envs.reset(seed=0)
    assert envs.render_frame(1).shape == (16, 24, 3)
    assert not np.array_equal(envs.render_frame(0), envs.render_frame(1))
    envs.close()


@pytest.mark.parametrize(
    ("env_id", "arguments", "message"),
    [
        ("CartPol-v1", {}, "did you mean CartPole-v1"),
        ("nowhere_at_all:Env-v0", {}, "cannot import the module"),
        ("CartPole-v1", {"sutton": 3}, "unexpected keyword"),
        ("CartPole-v1", {"num_envs": 0}, "num_envs: expected 1 or more"),
        ("CartPole-v1", {"vectorization": "threads"}, "auto, sync, async"),
        ("CartPole-v1", {"vectorization": "async", "render_mode": "rgb_array"}, "sync"),
    ],
)
def test_wrong_argument_is_refused(env_id, arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        make_gymnasium_envs(env_id, **arguments)


def test_arguments_of_an_env_may_have_any_name() -> None:
    """`env_id`, `spec`, `num_envs` and `vectorization` are arguments of robossl's own functions too."""

    class Named(gym.Env):
        observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
        action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

        def __init__(self, env_id, num_envs=1, spec=None, vectorization="none", adapter=0):
            self.values = (env_id, num_envs, vectorization, adapter)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), 0.0, False, False, {}

    gym.register("habits/Named-v0", Named)
    name = "habits/Named-v0?env_id=AC1&num_envs=5&vectorization=fast&adapter=2"
    with closing(registry.make_envs(name, 2)) as envs:
        assert envs.num_envs == 2
        assert envs.unwrapped.envs[1].unwrapped.values == ("AC1", 5, "fast", 2)
