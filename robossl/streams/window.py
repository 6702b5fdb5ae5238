"""Window: a batch of windows of consecutive time steps, as training reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Window:
    """B windows of T actions and T+1 observations. After the first invalid step another episode follows.

    Example:
        window = stream.windows(256, 5, rng)
        error = ((predicted - window.action) ** 2)[window.mask].mean()
    """

    observation: Any  # [B, T+1, ...]; a dict of arrays for Dict spaces
    action: np.ndarray  # [B, T, ...]  action[t] leads from observation[t] to observation[t+1] where mask[t]
    reward: np.ndarray  # [B, T] float32
    terminated: np.ndarray  # [B, T] bool
    truncated: np.ndarray  # [B, T] bool
    valid: np.ndarray  # [B, T] bool
    lane: np.ndarray  # [B] lane of each window
    start: np.ndarray  # [B] first row of each window
    fields: dict[str, np.ndarray] = field(default_factory=dict)  # further fields, [B, T+1, ...]

    @property
    def mask(self) -> np.ndarray:
        """Return [B, T] bool: transitions of the episode that the window begins in."""
        return np.logical_and.accumulate(self.valid, axis=1)

    @property
    def observation_mask(self) -> np.ndarray:
        """Return [B, T+1] bool: observations of the episode that the window begins in."""
        return np.concatenate([np.ones_like(self.valid[:, :1]), self.mask], axis=1)
