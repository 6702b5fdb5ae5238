"""Toy envs for agents: one with checkpoints, one with identifiable observations, one with goals and an exact model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.world_model import WorldModel, WorldModelConfig

SMALL = WorldModelConfig(
    latent_dim=8,
    encoder_hidden=(16,),
    dynamics_hidden=(16,),
    inverse_hidden=(16,),
    decoder_hidden=(16,),
    ensemble_size=2,
)
QUICK_PLANNER = {"samples": 16, "iterations": 2, "elites": 4, "horizon": 6, "action_repeat": 2}
EPISODE_STEPS = 13  # of the line


def model_of(envs: Any, seed: int = 0, config: WorldModelConfig = SMALL) -> WorldModel:
    """Return an untrained frozen world model for these envs."""
    return WorldModel(config, envs.single_observation_space, envs.single_action_space, seed).frozen_copy()


class Line(VectorEnv):
    """Points pushed along a line; reward is highest in the middle, episodes terminate beyond 2."""

    def __init__(self, num_envs: int, discrete: bool = False) -> None:
        self.num_envs, self.discrete = num_envs, discrete
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = Box(-10, 10, (2,), np.float32)
        self.single_action_space = Discrete(3, start=1) if discrete else Box(-1, 3, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators = [generator(0, env_index) for env_index in range(num_envs)]
        self.state = np.zeros((num_envs, 2))  # position, velocity
        self.elapsed = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for env_index in np.flatnonzero(mask):
            if seed is not None:
                self.generators[env_index] = generator(seed + int(env_index))
            self.state[env_index] = self.generators[env_index].uniform(-1, 1, 2)
            self.elapsed[env_index] = 0
        return self.state.astype(np.float32), {}

    def step(self, actions: np.ndarray) -> tuple:
        for action in actions:
            assert self.single_action_space.contains(action), action
        push = (actions - 2.0) if self.discrete else np.asarray(actions, np.float64)[:, 0] - 1.0
        self.state[:, 1] = 0.9 * self.state[:, 1] + 0.2 * push
        self.state[:, 0] += 0.3 * self.state[:, 1]
        self.elapsed += 1
        terminated = np.abs(self.state[:, 0]) > 2.0
        return (
            self.state.astype(np.float32),
            1.0 - np.abs(self.state[:, 0]),
            terminated,
            (self.elapsed >= EPISODE_STEPS) & ~terminated,
            {},
        )

    def get_checkpoint(self) -> Any:
        return {
            "state": self.state.copy(),
            "elapsed": self.elapsed.copy(),
            "generators": [generator_state(g) for g in self.generators],
        }

    def set_checkpoint(self, tree: Any) -> None:
        self.state, self.elapsed = np.array(tree["state"]), np.array(tree["elapsed"])
        for own, state in zip(self.generators, tree["generators"]):
            restore_generator(own, state)


class Counter(gym.Env):
    """Observes [env index, episode, step]; the reward of a step is 100 episode + step. Actions are in [-2, 4]."""

    def __init__(self, env_index: int, space: gym.Space | None = None) -> None:
        self.observation_space = Box(-1e6, 1e6, (3,), np.float32)
        self.action_space = space or Box(-2, 4, (1,), np.float32)
        self.env_index, self.episode, self.count = env_index, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple:
        self.count += 1
        over = self.count == self.length(self.episode)
        ends = self.ends(self.episode)
        return self.observe(), 100.0 * self.episode + self.count, over and ends, over and not ends, {}

    def length(self, episode: int) -> int:
        """Return the steps of an episode."""
        return 2 + (self.env_index + episode) % 4

    def ends(self, episode: int) -> bool:
        """Return whether an episode terminates; otherwise it is truncated."""
        return episode % 2 == 0

    def observe(self) -> np.ndarray:
        return np.array([self.env_index, self.episode, self.count], np.float32)


class CountingGoals(Counter):
    """The same as a goal env: achieved_goal is [episode, step], desired_goal [-1, -1]."""

    def __init__(self, env_index: int, space: gym.Space | None = None) -> None:
        super().__init__(env_index, space)
        goal = Box(-1e6, 1e6, (2,), np.float32)
        self.observation_space = Dict(
            observation=self.observation_space, achieved_goal=goal, desired_goal=goal
        )

    def length(self, episode: int) -> int:
        return 70

    def observe(self) -> Any:
        counts = super().observe()
        return {
            "observation": counts,
            "achieved_goal": counts[1:],
            "desired_goal": np.full(2, -1, np.float32),
        }

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        """Return the steps from one to the other."""
        return desired[..., 1] - achieved[..., 1]


class PointMasses(VectorEnv):
    """Point masses in the plane; each has a goal to reach and stay at. Episodes never end."""

    GOAL_RADIUS = 0.2

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        goal = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_observation_space = Dict(
            observation=Box(-np.inf, np.inf, (4,), np.float32), achieved_goal=goal, desired_goal=goal
        )
        self.single_action_space = Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        random = np.random.default_rng(seed)
        self.state = np.concatenate(
            [random.uniform(-2, 2, (self.num_envs, 2)), np.zeros((self.num_envs, 2))], 1
        )
        self.goal = random.uniform(-2, 2, (self.num_envs, 2)).astype(np.float32)
        return self.observe(), {}

    def step(self, actions: np.ndarray) -> tuple:
        assert self.action_space.contains(actions)
        self.state = next_state(torch.from_numpy(self.state), torch.from_numpy(actions).double()).numpy()
        no_end = np.zeros(self.num_envs, bool)
        return self.observe(), np.zeros(self.num_envs), no_end, no_end, {}

    def observe(self) -> dict[str, np.ndarray]:
        state = self.state.astype(np.float32)
        return {"observation": state, "achieved_goal": state[:, :2], "desired_goal": self.goal}

    def reached(self) -> np.ndarray:
        return np.linalg.norm(self.state[:, :2] - self.goal, axis=1) < self.GOAL_RADIUS

    def goal_observation(self, goal: np.ndarray) -> np.ndarray:
        return np.concatenate([goal, np.zeros_like(goal)], 1)


class PointModel:
    """An exact world model of the point masses."""

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        return observation

    def imagine(self, z: torch.Tensor, actions: torch.Tensor, heads: str = "mean") -> torch.Tensor:
        assert (actions.abs() <= 1).all(), "imagined actions exceed the bounds"
        path = [z]
        for t in range(actions.shape[1]):
            path.append(next_state(path[-1], actions[:, t]))
        return torch.stack(path, 1)


def next_state(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Return the next state (n, 4) (position, velocity) after forces (n, 2)."""
    velocity = 0.7 * state[:, 2:] + 0.3 * action
    return torch.cat([state[:, :2] + 0.3 * velocity, velocity], 1)
