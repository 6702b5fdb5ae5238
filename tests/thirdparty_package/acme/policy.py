"""An exploration policy: sine waves with a frequency for each sub-environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class SinePolicy:
    """Actions of a Box follow sine waves over its range."""

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        self.space, self.count = action_space, np.zeros(num_envs)
        self.frequency = np.random.default_rng(seed).uniform(0.1, 1.0, num_envs)

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A)."""
        self.count += 1
        wave = np.sin(self.frequency * self.count).reshape(-1, *[1] * len(self.space.shape))
        middle, half = (self.space.high + self.space.low) / 2, (self.space.high - self.space.low) / 2
        return (middle + half * wave).astype(self.space.dtype)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start the waves of new episodes."""
        self.count[slice(None) if mask is None else mask] = 0

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the phase of the waves."""
        return {"count": self.count.copy(), "frequency": self.frequency.copy()}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self.count[:], self.frequency[:] = tree["count"], tree["frequency"]
