"""Toy envs with known answers: one with short successes, and a point that can be set to any position."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv


class ShortSuccess(gym.Env):
    """Env whose episodes succeed after 2 steps or fail after 30, with equal probability. Reward 1 per step."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lucky, self.count = bool(self.np_random.random() < 0.5), 0
        return np.zeros(1, np.float32), {"is_success": False}

    def step(self, action):
        self.count += 1
        end = self.count == (2 if self.lucky else 30)
        info = {"is_success": end and self.lucky}
        return np.full(1, self.count, np.float32), 1.0, end and self.lucky, end and not self.lucky, info


class UnreportedSuccess(ShortSuccess):
    """The same env without `is_success` in its infos."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {}

    def step(self, action):
        return *super().step(action)[:4], {}


class ConstantPolicy:
    """Policy with one action for all sub-environments; counts its resets."""

    def __init__(self, action: np.ndarray, num_envs: int):
        self.action, self.resets = np.tile(action, (num_envs, 1)), np.zeros(num_envs, int)

    def act(self, observation, explore=True):
        return self.action

    def reset(self, mask=None):
        self.resets += 1 if mask is None else mask


class RandomPolicy:
    """Policy with uniform random actions."""

    def __init__(self, num_envs: int, seed: int = 0):
        self.random, self.num_envs = np.random.default_rng(seed), num_envs

    def act(self, observation, explore=True):
        return self.random.uniform(-1, 1, (self.num_envs, 2)).astype(np.float32)

    def reset(self, mask=None):
        pass


class StraightPolicy:
    """Policy that moves straight to the goal."""

    def act(self, observation, explore=True):
        difference = observation["desired_goal"] - observation["achieved_goal"]
        return np.clip(difference / PointGoal.STRIDE, -1, 1).astype(np.float32)

    def reset(self, mask=None):
        pass


class PointGoal(VectorEnv):
    """Point that moves by a tenth of the action [m]; success is a distance below 5 cm to the goal."""

    STRIDE, TOLERANCE = 0.1, 0.05  # [m]

    def __init__(self, num_envs: int = 16, limit: int = 10_000, end_on_success: bool = False):
        self.num_envs, self.limit, self.end_on_success = num_envs, limit, end_on_success
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_observation_space = spaces.Dict(observation=box, achieved_goal=box, desired_goal=box)
        self.single_action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.position, self.goal = np.zeros((num_envs, 2)), np.ones((num_envs, 2))
        self.elapsed, self.ended = np.zeros(num_envs, int), np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        self.position[:], self.goal[:], self.elapsed[:], self.ended[:] = 0, 1, 0, False
        return self.observe(), {"is_success": self.is_success()}

    def set_physics_state(self, physics, env_ids=None, goal=None):
        env_ids = np.arange(self.num_envs) if env_ids is None else env_ids
        self.position[env_ids], self.elapsed[env_ids], self.ended[env_ids] = physics, 0, False
        if goal is not None:
            self.goal[env_ids] = goal
        return self.observe()

    def step(self, actions):
        ended = self.ended.copy()
        self.position += self.STRIDE * np.clip(actions, -1, 1)
        self.position[ended], self.elapsed[ended] = 0.0, -1
        self.elapsed += 1
        terminated = self.is_success() & ~ended & self.end_on_success
        truncated = (self.elapsed >= self.limit) & ~ended
        self.ended = terminated | truncated
        return (
            self.observe(),
            np.zeros(self.num_envs),
            terminated,
            truncated,
            {"is_success": self.is_success()},
        )

    def is_success(self):
        return np.linalg.norm(self.position - self.goal, axis=1) < self.TOLERANCE

    def observe(self):
        position = self.position.astype(np.float32)
        return {
            "observation": position,
            "achieved_goal": position,
            "desired_goal": self.goal.astype(np.float32),
        }


class PointStream:
    """Stream of the point: it moves in half of the episodes and stays in the others."""

    def __init__(self, episodes: int = 20, steps: int = 50, seed: int = 0):
        from evaluation_toys import Episode

        random = np.random.default_rng(seed)
        self.observation_space = PointGoal(1).single_observation_space
        self.tracks = []
        for k in range(episodes):
            stride = random.uniform(-1, 1, (steps, 2)) * PointGoal.STRIDE * (k % 2)
            self.tracks.append(np.cumsum(np.concatenate([random.normal(size=(1, 2)), stride]), 0))
        self.rows = [Episode(k, 0, steps + 1, k) for k in range(episodes)]

    def episodes(self, split=None):
        return self.rows if split in (None, "test") else []

    def read(self, lane, start, stop, fields=None):
        track = self.tracks[lane][start:stop]
        return {"physics": track, "observation.achieved_goal": track.astype(np.float32)}
