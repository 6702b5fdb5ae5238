"""Adapters: a third-party env whose state can be set has everything that a native one has."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from robossl.envs import EnvAdapter

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import PhysicsStateEnv
from robossl.core.spaces import flatten_by_path


class Point(gym.Env):
    """A point on a line with goals."""

    def __init__(self, render_mode: str | None = None) -> None:
        goal = spaces.Box(-9, 9, (1,), np.float32)
        self.observation_space = spaces.Dict(
            observation=spaces.Box(-9, 9, (2,), np.float32), achieved_goal=goal, desired_goal=goal
        )
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = float(self.np_random.normal()), 0.0
        self.goal = self.np_random.normal(size=1)
        return self.observe(), {"is_success": False}

    def observe(self):
        arrays = {"observation": [self.x, self.v], "achieved_goal": [self.x], "desired_goal": self.goal}
        return {key: np.clip(value, -9, 9).astype(np.float32) for key, value in arrays.items()}

    def compute_reward(self, achieved, desired, info):
        return -np.linalg.norm(achieved - desired, axis=-1)

    def step(self, action):
        self.v = 0.8 * self.v + 0.1 * float(np.clip(action[0], -1, 1))
        self.x += self.v
        observation = self.observe()
        reward = float(self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {}))
        return observation, reward, False, False, {"is_success": reward > -0.1}


class PointAdapter(EnvAdapter):
    def get_state(self):
        return np.array([self.env.x, self.env.v])

    def set_state(self, state):
        self.env.x, self.env.v = map(float, state)

    def observation(self):
        return self.env.observe()

    def set_goal(self, goal):
        self.env.goal = np.asarray(goal, float)

    def goal_observation(self, goal):
        return [goal[0], 0.0]


gym.register("adapted/Point-v0", Point, max_episode_steps=30)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "_added", dict(registry._added))
    robossl.register("env_adapters", "adapted/Point-v0", PointAdapter)


def check_states(name: str, goal: np.ndarray | None = None) -> None:
    """Assert that the future from a restored state is the same, to the bit."""
    envs = registry.make_envs(name, 3)
    inner = envs.unwrapped
    assert isinstance(inner, PhysicsStateEnv)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(8)]
    envs.step(actions[0])
    state = inner.get_physics_state()
    futures = []
    for _ in range(2):
        observation = inner.set_physics_state(state, goal=goal)
        future = [observation, *(envs.step(action)[0] for action in actions)]
        futures.append([flatten_by_path(envs.single_observation_space, o) for o in future])
    for first, second in zip(*futures):
        for path in first:
            assert np.array_equal(first[path], second[path])
    assert all(len(values) == 3 for values in inner.privileged_state().values())
    envs.close()


def test_state_of_an_adapted_env_restores_its_future() -> None:
    check_states("adapted/Point-v0", goal=np.ones((3, 1)))
    check_states("HalfCheetah-v5?+adapter=mujoco")
    assert not isinstance(registry.make_envs("HalfCheetah-v5", 2).unwrapped, PhysicsStateEnv)


def test_adapter_without_a_method_is_refused_when_the_env_is_made() -> None:
    class Unfinished(EnvAdapter):
        def get_state(self):
            return np.zeros(1)

    robossl.register("env_adapters", "unfinished", Unfinished)
    with pytest.raises(UsageError, match=r"Unfinished.*observation.*set_state"):
        registry.make_envs("adapted/Point-v0?+adapter=unfinished", 2)


@pytest.mark.slow
def test_report_of_an_adapted_env_has_goals_and_probes(tmp_path) -> None:
    stream = robossl.collect("adapted/Point-v0", steps=1200, num_envs=8, out=tmp_path / "s")
    assert {"physics", "state.state", "info.is_success"} <= set(stream.schema.names)
    model = robossl.pretrain(stream, updates=2, out=tmp_path / "m", head_updates=2)
    report = robossl.evaluate(
        model, stream=stream, episodes=1, goal_trials=2, goal_horizons=(5,), videos=False, out=tmp_path / "e"
    )
    assert "5" in report["goal_reaching"]["horizons"]
    assert {"planner_latent", "inverse_policy"} <= set(report["goal_reaching"]["rows"])
    assert "probes" in report["world_model"]


def test_observations_of_goals_are_those_of_the_adapter(monkeypatch) -> None:
    goals = np.array([[1.0], [-2.0]])
    envs = registry.make_envs("adapted/Point-v0", 2)
    assert np.array_equal(envs.unwrapped.goal_observation(goals), np.array([[1, 0], [-2, 0]], np.float32))
    monkeypatch.setattr(PointAdapter, "goal_observation", lambda self, goal: [float("nan")])
    with pytest.raises(UsageError, match=r"goal_observation: expected finite numbers of shape \(2,\), got"):
        registry.make_envs("adapted/Point-v0", 2).unwrapped.goal_observation(goals)
    monkeypatch.delattr(PointAdapter, "goal_observation")
    assert not hasattr(registry.make_envs("adapted/Point-v0", 2).unwrapped, "goal_observation")


def test_wrong_adapters_are_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="adapter mujoco: Point has no attribute model"):
        registry.make_envs("adapted/Point-v0?+adapter=mujoco", 1)
    with pytest.raises(UsageError, match="no 'mujco' among the env adapters"):
        registry.make_envs("adapted/Point-v0?+adapter=mujco", 1)
    robossl.register("env_adapters", "CartPole-v1", object)
    with pytest.raises(UsageError, match="expected a subclass of robossl"):
        registry.make_envs("CartPole-v1", 1)
