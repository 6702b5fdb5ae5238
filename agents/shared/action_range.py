"""Finite action range of a Box, for policies and planners that draw actions."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space

_WIDTH = 2.0  # of the range on a side without a bound


def action_range(space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest action of a float Box, both float64 in the shape of the space.

    A missing bound is replaced by one at distance 2 from the other bound; without any bound the range is [-1, 1].

    Raises:
        UsageError: If the space is not a float Box.
    """
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UsageError(f"expected a float Box action space, got {format_space(space)}")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    lowest = np.where(has_low, low, np.where(has_high, high - _WIDTH, -_WIDTH / 2))
    highest = np.where(has_high, high, np.where(has_low, low + _WIDTH, _WIDTH / 2))
    return lowest, highest
