"""The one shape of every reward: 1 where all is well, falling smoothly to 0 away from there."""

from __future__ import annotations

from functools import cache

import numpy as np

_VALUE_AT_MARGIN = 0.1


def tolerance(value: np.ndarray, lower: float = 0.0, upper: float = 0.0, margin: float = 0.0) -> np.ndarray:
    """1 inside [lower, upper]; outside it falls with the distance, to 0.1 one `margin` [same unit] away.

    The fall has a long tail, 1 / (1 + 9 (distance / margin)^2), so that there is a way up from anywhere.
    Without a margin it is 0 outside. Any shape in, the same shape out, float64 in [0, 1].
    """
    distance = _outside(np.asarray(value, np.float64), lower, upper)
    if margin == 0.0:
        return (distance == 0.0).astype(np.float64)
    square = np.asarray(
        distance * distance
    )  # from here on in place: it is the same few numbers again and again
    square *= (1.0 / _VALUE_AT_MARGIN - 1.0) / margin**2
    square += 1.0
    return np.reciprocal(square, out=square)


def pace(speed: np.ndarray, target: float) -> np.ndarray:
    """0 at rest and in the wrong direction, 1 at `target` and beyond; between them it rises almost evenly."""
    margin = 2 * target  # the part of the tolerance's flank that is nearly straight
    at_rest = _at_rest(target, margin)
    return np.maximum(tolerance(speed, target, np.inf, margin) - at_rest, 0.0) / (1.0 - at_rest)


@cache
def _at_rest(target: float, margin: float) -> float:
    return float(tolerance(np.zeros(1), target, np.inf, margin)[0])


def _outside(value: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """How far outside [lower, upper] it is, up to the sign."""
    if lower == upper == 0.0:
        return value
    if upper == np.inf:
        return np.maximum(lower - value, 0.0)
    beyond = np.maximum(value - upper, 0.0)
    return beyond if lower == -np.inf else np.maximum(lower - value, beyond)
