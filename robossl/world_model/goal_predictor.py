"""What is wished for in a dream: the goals of the rows it starts from, and what an imagined state achieves."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import format_space

_WAVES = 256  # random features beside the numbers themselves
_RIDGE = 1e-6  # of the mean squared feature
ACHIEVED, DESIRED = "achieved_goal", "desired_goal"


class GoalPredictor:
    """The goals of a goal env, of which its world model knows nothing.

    `achieved` tells from what is seen the goal that would be fulfilled there: a ridge regression on the
    normalised observation (on z, where only images are seen) and on random waves of it. So a goal that is
    part of the observation agrees with the observation, imagined or not. No reward is looked at.
    """

    def __init__(
        self, space: spaces.Dict, known: np.ndarray, achieved: np.ndarray, desired: np.ndarray, seed: int
    ) -> None:
        """From S rows: what is seen there (S, D), and the goals (S, *G) achieved and desired."""
        self.space = space[ACHIEVED]
        if not isinstance(self.space, spaces.Box):
            raise UsageError(
                f"a dream carries goals of numbers; the goals of this env are {format_space(self.space)}"
            )
        self.desired = np.array(desired)
        random, size = generator(seed, "dream", "achieved"), known.shape[1]
        self.waves = random.normal(size=(size, _WAVES)) / np.sqrt(size)  # (D, W)
        self.phase = random.uniform(0, 2 * np.pi, _WAVES)  # (W,)
        features = self._features(known)
        gram = features.T @ features
        ridge = _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        goals = np.asarray(achieved, np.float64).reshape(len(achieved), -1)
        self.weights = np.linalg.solve(gram + ridge, features.T @ goals)  # (1 + D + W, G)

    def achieved(self, known: np.ndarray) -> np.ndarray:
        """(n, *G) where (n, D) is seen, within the bounds of the goals."""
        values = (self._features(known) @ self.weights).reshape(len(known), *(self.space.shape or ()))
        assert isinstance(self.space, spaces.Box)
        return np.clip(values, self.space.low, self.space.high).astype(self.space.dtype)

    def get_checkpoint(self) -> dict[str, Any]:
        """What was drawn and learned."""
        return {name: getattr(self, name).copy() for name in ("desired", "waves", "phase", "weights")}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """What `get_checkpoint` gave."""
        for name, value in tree.items():
            setattr(self, name, np.array(value))

    def _features(self, known: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, 1 + D + W) float64."""
        known = known.astype(np.float64)
        return np.concatenate([np.ones((len(known), 1)), known, np.cos(known @ self.waves + self.phase)], 1)
