"""Toy envs for agents: one that can be saved and learned in, one that counts, one with goals and its own model."""

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

SMALL = WorldModelConfig(latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,), inverse_hidden=(16,), decoder_hidden=(16,), ensemble_size=2)
LIMIT = 13  # [steps] of an episode on the line


def model_of(envs: Any, seed: int = 0, config: WorldModelConfig = SMALL) -> WorldModel:
    """An untrained frozen world model that fits."""
    return WorldModel(config, envs.single_observation_space, envs.single_action_space, seed).frozen_copy()


class Line(VectorEnv):
    """Points pushed along a line, to stay near its middle; beyond 2 is the end. Can be saved; resets nothing."""

    def __init__(self, lanes: int, discrete: bool = False) -> None:
        self.num_envs, self.discrete = lanes, discrete
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = Box(-10, 10, (2,), np.float32)
        self.single_action_space = Discrete(3, start=1) if discrete else Box(-1, 3, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)
        self.randoms = [generator(0, lane) for lane in range(lanes)]
        self.state = np.zeros((lanes, 2))  # position, velocity
        self.elapsed = np.zeros(lanes, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for lane in np.flatnonzero(mask):
            if seed is not None:
                self.randoms[lane] = generator(seed + int(lane))
            self.state[lane] = self.randoms[lane].uniform(-1, 1, 2)
            self.elapsed[lane] = 0
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
            (self.elapsed >= LIMIT) & ~terminated,
            {},
        )

    def get_checkpoint(self) -> Any:
        return {
            "state": self.state.copy(),
            "elapsed": self.elapsed.copy(),
            "randoms": [generator_state(random) for random in self.randoms],
        }

    def set_checkpoint(self, tree: Any) -> None:
        self.state, self.elapsed = np.array(tree["state"]), np.array(tree["elapsed"])
        for random, state in zip(self.randoms, tree["randoms"]):
            restore_generator(random, state)


class Counter(gym.Env):
    """Observes [lane, episode, step]; the reward of a step is 100 episode + step. Actions reach from -2 to 4."""

    def __init__(self, lane: int, space: gym.Space | None = None) -> None:
        self.observation_space = Box(-1e6, 1e6, (3,), np.float32)
        self.action_space = space or Box(-2, 4, (1,), np.float32)
        self.lane, self.episode, self.count = lane, -1, 0

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
        """[steps] of that episode."""
        return 2 + (self.lane + episode) % 4

    def ends(self, episode: int) -> bool:
        """Whether it terminates; it is truncated otherwise."""
        return episode % 2 == 0

    def observe(self) -> np.ndarray:
        return np.array([self.lane, self.episode, self.count], np.float32)


class CountingGoals(Counter):
    """The same as a goal env: what is achieved is [episode, step], what is asked for [-1, -1]."""

    def __init__(self, lane: int, space: gym.Space | None = None) -> None:
        super().__init__(lane, space)
        place = Box(-1e6, 1e6, (2,), np.float32)
        self.observation_space = Dict(
            observation=self.observation_space, achieved_goal=place, desired_goal=place
        )

    def length(self, episode: int) -> int:
        return 70

    def observe(self) -> Any:
        seen = super().observe()
        return {"observation": seen, "achieved_goal": seen[1:], "desired_goal": np.full(2, -1, np.float32)}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        """How many steps it is from one to the other."""
        return desired[..., 1] - achieved[..., 1]


class PointMasses(VectorEnv):
    """Point masses in the plane, each to be brought to its goal and held there. Never resets."""

    REACHED = 0.2

    def __init__(self, lanes: int) -> None:
        self.num_envs = lanes
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        place = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_observation_space = Dict(
            observation=Box(-np.inf, np.inf, (4,), np.float32), achieved_goal=place, desired_goal=place
        )
        self.single_action_space = Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        random = np.random.default_rng(seed)
        self.state = np.concatenate(
            [random.uniform(-2, 2, (self.num_envs, 2)), np.zeros((self.num_envs, 2))], 1
        )
        self.goal = random.uniform(-2, 2, (self.num_envs, 2)).astype(np.float32)
        return self.observe(), {}

    def step(self, actions: np.ndarray) -> tuple:
        assert self.action_space.contains(actions)
        self.state = moved(torch.from_numpy(self.state), torch.from_numpy(actions).double()).numpy()
        nothing = np.zeros(self.num_envs, bool)
        return self.observe(), np.zeros(self.num_envs), nothing, nothing, {}

    def observe(self) -> dict[str, np.ndarray]:
        seen = self.state.astype(np.float32)
        return {"observation": seen, "achieved_goal": seen[:, :2], "desired_goal": self.goal}

    def reached(self) -> np.ndarray:
        return np.linalg.norm(self.state[:, :2] - self.goal, axis=1) < self.REACHED

    def goal_observation(self, goal: np.ndarray) -> np.ndarray:
        return np.concatenate([goal, np.zeros_like(goal)], 1)


class PointModel:
    """What a perfect world model of them would do."""

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        return observation

    def imagine(self, z: torch.Tensor, actions: torch.Tensor, heads: str = "mean") -> torch.Tensor:
        assert (actions.abs() <= 1).all(), "an action outside of the bounds was imagined"
        path = [z]
        for t in range(actions.shape[1]):
            path.append(moved(path[-1], actions[:, t]))
        return torch.stack(path, 1)


def moved(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """One step of (n, 4) position and velocity, pushed by (n, 2)."""
    velocity = 0.7 * state[:, 2:] + 0.3 * action
    return torch.cat([state[:, :2] + 0.3 * velocity, velocity], 1)
