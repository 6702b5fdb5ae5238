"""A reward model for imagined rollouts, fitted to recorded rewards. The world model itself uses no reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator
from robossl.core.spaces import flatten_by_path, is_goal_space, unflatten_by_path
from robossl.streams import Stream
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED
from robossl.world_model.model import WorldModel
from robossl.world_model.networks import MLP

GoalReward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # achieved, desired -> reward (n,)

_BATCH = 512
_LEARNING_RATE = 1e-3
_HIDDEN = (128, 128)


class RewardModel:
    """An MLP: (observation, action, next observation) -> reward (n,), on the inputs that the world model normalizes.

    In a goal env the reward depends on the achieved and the desired goal only, as in Gymnasium's `compute_reward`. The
    inputs are then both goals and their difference, and `goal_reward(achieved, desired)` returns the reward; in other
    envs `goal_reward` is None.

    Args:
        model: The world model.
        stream: Recorded time steps with rewards; the train split is used.
        updates: Gradient steps.
        seed: Seed of weights and batches.

    Attributes:
        r2: R2 on the validation split; None if that is empty or its reward does not vary.

    Raises:
        UsageError: The observations are images only, or the reward does not vary.
    """

    def __init__(self, model: WorldModel, stream: Stream, updates: int = 1000, seed: int = 0) -> None:
        self.has_goals = is_goal_space(model.observation_space)
        if not self.has_goals and not model.observation_processor.vectors:
            raise UsageError("RewardModel: expected a world model with vector observations, got images only")
        self.goal_reward: GoalReward | None = self._goal_reward if self.has_goals else None
        self.model, self.stream = model, stream
        random = generator(seed, "world", "reward")
        self.goal_scale = self._goal_scale(random)  # (G,)
        inputs, reward = self._sample(8 * _BATCH, random, "train")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "world", "reward"))
            self.network = MLP(inputs.shape[-1], _HIDDEN, 1, model.config.linear_skip).to(model.device)
        self.mean, self.std = float(reward.mean()), float(reward.std())
        if self.std < 1e-8:
            raise UsageError(
                f"expected rewards that vary, got {self.mean:g} in all sampled transitions; record a task with reward"
            )
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=_LEARNING_RATE)
        for _ in range(updates):
            inputs, reward = self._sample(_BATCH, random, "train")
            error = (self.network(inputs)[:, 0] - (reward - self.mean) / self.std).square().mean()
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
        self.r2 = self._validation_r2(random)

    def __call__(self, observation: Any, action: np.ndarray, next_observation: Any) -> np.ndarray:
        """Return rewards (n,) float64, in the unit of the env."""
        return self._predict(self._features(observation, action, next_observation))

    def _goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return rewards (n,) float64 for goals (n, *G)."""
        return self._predict(self._goal_features(achieved, desired))

    def _predict(self, features: Tensor) -> np.ndarray:
        with torch.no_grad():
            normalized = self.network(features)[:, 0]
        return (normalized.cpu().numpy() * self.std + self.mean).astype(np.float64)

    def _features(self, observation: Any, action: Any, next_observation: Any) -> Tensor:
        """Return network inputs (n, F) of n transitions."""
        if self.has_goals:
            return self._goal_features(next_observation[ACHIEVED], observation[DESIRED])
        processor = self.model.observation_processor
        before, after = (
            processor.normalize(processor.select(value)) for value in (observation, next_observation)
        )
        return torch.cat([before, self.model.action_processor(action), after], -1)

    def _goal_features(self, achieved: np.ndarray, desired: np.ndarray) -> Tensor:
        """Return network inputs (n, 3 G) of goals."""
        scaled_achieved, scaled_desired = (
            np.asarray(goal, np.float64).reshape(len(goal), -1) / self.goal_scale
            for goal in (achieved, desired)
        )
        features = np.concatenate([scaled_achieved, scaled_desired, scaled_achieved - scaled_desired], 1)
        return torch.as_tensor(features, dtype=torch.float32, device=self.model.device)

    def _goal_scale(self, random: np.random.Generator) -> np.ndarray:
        """Return the root mean square (G,) of the desired goals; 1 where it is 0 or the env has no goals."""
        if not self.has_goals:
            return np.ones(1)
        window = self.stream.windows(8 * _BATCH, 1, random, split="train")
        goals = np.asarray(window.observation[DESIRED][:, 0], np.float64)
        scale = np.sqrt(np.square(goals.reshape(len(goals), -1)).mean(0))
        return np.where(scale > 0, scale, 1.0)

    def _sample(self, count: int, random: np.random.Generator, split: str) -> tuple[Tensor, Tensor]:
        """Return network inputs (count, F) and rewards (count,) of random transitions."""
        window = self.stream.windows(count, 1, random, split=split)
        space = self.stream.observation_space
        leaves = flatten_by_path(space, window.observation)
        before, after = (
            unflatten_by_path(space, {path: values[:, t] for path, values in leaves.items()}) for t in (0, 1)
        )
        features = self._features(before, window.action[:, 0], after)
        return features, torch.as_tensor(window.reward[:, 0], dtype=torch.float32, device=self.model.device)

    @torch.no_grad()
    def _validation_r2(self, random: np.random.Generator) -> float | None:
        try:
            features, reward = self._sample(4 * _BATCH, random, "validation")
        except UsageError:  # the validation split is empty
            return None
        variance = float(reward.var())
        error = (self.network(features)[:, 0] * self.std + self.mean - reward).square().mean()
        return 1 - float(error) / variance if variance > 0 else None
