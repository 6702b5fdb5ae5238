"""Goals in imagined rollouts of a goal env: desired goals from the stream, achieved goals by regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import format_space
from robossl.core.statistics import main_directions

NUM_RANDOM_FEATURES = 256
_RIDGE = 1e-6  # times the mean squared feature
_MAX_INPUTS = (
    512  # longer inputs are replaced by that many main directions: the cost grows as their third power
)
ACHIEVED, DESIRED = "achieved_goal", "desired_goal"


class GoalPredictor:
    """Prediction of the achieved goal from what the world model decodes; the model itself has no goals.

    A ridge regression on the normalized observation (on z if all observations are images) and on random cosine
    features of it. A goal that is part of the observation therefore agrees with the imagined observation, which the
    readout of the goal heads, from z and for planning, does not guarantee; and it needs no gradient steps, so that
    every imagined env has it. Rewards are not used.

    Args:
        space: The observation space of the goal env.
        inputs: Normalized observations or latents (S, D).
        achieved: Achieved goals (S, *G) at the same time steps.
        desired: Desired goals (S, *G) at the same time steps.
        seed: Seed of the random features.

    Raises:
        UsageError: The goals are not a Box.
    """

    def __init__(
        self, space: spaces.Dict, inputs: np.ndarray, achieved: np.ndarray, desired: np.ndarray, seed: int
    ) -> None:
        goal_space = space[ACHIEVED]
        if not isinstance(goal_space, spaces.Box):
            raise UsageError(f"goals of a WorldModelEnv: expected Box, got {format_space(goal_space)}")
        self.space, self.desired = goal_space, np.array(desired)
        random, dim = generator(seed, "dream", "achieved"), inputs.shape[1]
        self.frequencies = random.normal(size=(dim, NUM_RANDOM_FEATURES)) / np.sqrt(dim)  # (D, W)
        self.phase = random.uniform(0, 2 * np.pi, NUM_RANDOM_FEATURES)  # (W,)
        goals = np.asarray(achieved, np.float64).reshape(len(achieved), -1)
        self.weights = self._fit(self._features(inputs), goals, dim)  # (1 + D + W, G)

    def achieved(self, inputs: np.ndarray) -> np.ndarray:
        """Return achieved goals (n, *G), clipped to the bounds of the goal space, for inputs (n, D)."""
        values = (self._features(inputs) @ self.weights).reshape(len(inputs), *self.space.shape)
        return np.clip(values, self.space.low, self.space.high).astype(self.space.dtype)

    def achieved_tensor(self, inputs: Tensor) -> Tensor:
        """Return achieved goals (n, G) float32 for a tensor (n, D) on any device, with gradients, not clipped."""
        frequencies, phase, weights = (
            torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device)
            for value in (self.frequencies, self.phase, self.weights)
        )
        cosines = torch.cos(inputs @ frequencies + phase)
        return weights[0] + torch.cat([inputs, cosines], -1) @ weights[1:]

    @classmethod
    def from_checkpoint(cls, space: spaces.Dict, tree: dict[str, Any]) -> GoalPredictor:
        """Return the predictor whose `get_checkpoint` returned `tree`."""
        predictor = cls.__new__(cls)
        goal_space = space[ACHIEVED]
        assert isinstance(goal_space, spaces.Box)
        predictor.space = goal_space
        predictor.set_checkpoint(tree)
        return predictor

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the desired goals and the regression."""
        return {name: getattr(self, name).copy() for name in ("desired", "frequencies", "phase", "weights")}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Restore what `get_checkpoint` returned."""
        for name, value in tree.items():
            setattr(self, name, np.array(value))

    @staticmethod
    def _fit(features: np.ndarray, goals: np.ndarray, dim: int) -> np.ndarray:
        """Return the weights (1 + D + W, G) of a ridge regression from features to goals (S, G), in time O(S D)."""
        inputs = features[:, 1 : dim + 1]
        directions = main_directions(inputs - inputs.mean(0), _MAX_INPUTS) if dim > _MAX_INPUTS else None
        if directions is not None:
            features = np.concatenate([features[:, :1], inputs @ directions, features[:, dim + 1 :]], 1)
        gram = features.T @ features
        ridge = _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        weights: np.ndarray = np.linalg.solve(gram + ridge, features.T @ goals)
        if directions is None:
            return weights
        last = directions.shape[1] + 1
        return np.concatenate([weights[:1], directions @ weights[1:last], weights[last:]])

    def _features(self, inputs: np.ndarray) -> np.ndarray:
        """Return features (n, 1 + D + W) float64 of inputs (n, D)."""
        inputs = inputs.astype(np.float64)
        cosines = np.cos(inputs @ self.frequencies + self.phase)
        return np.concatenate([np.ones((len(inputs), 1)), inputs, cosines], 1)
