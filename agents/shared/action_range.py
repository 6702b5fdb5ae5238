"""The range that actions are drawn from."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space

_FAR = 2.0  # how far a side that has no bound lies from the other one


def action_range(space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest action of a float Box, each of its shape, float64.

    A side without a bound lies 2 away from the other one; without either the range is [-1, 1].
    """
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UsageError(
            f"actions of {format_space(space)} have no range to draw from; expected a Box of floats"
        )
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    below, above = np.isfinite(low), np.isfinite(high)
    lowest = np.where(below, low, np.where(above, high - _FAR, -_FAR / 2))
    highest = np.where(above, high, np.where(below, low + _FAR, _FAR / 2))
    return lowest, highest
