"""The one shape of every reward: 1 where all is well, falling smoothly to 0 away from there."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_VALUE_AT_MARGIN = 0.1


@lru_cache(maxsize=256)
def as_scalar_array(value: float) -> np.ndarray:
    """The array () that numpy would make of a plain number anew in every expression: half the time of a short one.

    It is float64 for good: an expression of float32 that holds it becomes float64.
    """
    constant = np.array(value, np.float64)
    constant.flags.writeable = False
    return constant


_ZERO, _ONE = as_scalar_array(0.0), as_scalar_array(1.0)


def tolerance(value: np.ndarray, lower: float = 0.0, upper: float = 0.0, margin: float = 0.0) -> np.ndarray:
    """1 inside [lower, upper]; outside it falls with the distance, to 0.1 one `margin` [same unit] away.

    The fall has a long tail, 1 / (1 + 9 (distance / margin)^2), so that there is a way up from anywhere.
    Without a margin it is 0 outside. Any shape in, the same shape out, float64 in [0, 1].
    """
    lower, upper, margin = float(lower), float(upper), float(margin)
    distance = _outside(np.asarray(value, np.float64), lower, upper)
    if margin == 0.0:
        return (distance == _ZERO).astype(np.float64)
    square = np.asarray(distance * distance)  # from here on in place: the same few numbers again and again
    square *= _fall(margin)
    square += _ONE
    return np.reciprocal(square, out=square)


@lru_cache(maxsize=256)
def _fall(margin: float) -> np.ndarray:
    """What the square of the distance is multiplied by."""
    return as_scalar_array((1.0 / _VALUE_AT_MARGIN - 1.0) / margin**2)


def speed_reward(speed: np.ndarray, target: float) -> np.ndarray:
    """0 at rest and in the wrong direction, 1 at `target` and beyond; between them it rises almost evenly."""
    margin = 2 * target  # the part of the tolerance's flank that is nearly straight
    at_rest, rise = _at_rest(target, margin)
    share = tolerance(speed, target, np.inf, margin)
    share -= at_rest
    np.maximum(share, _ZERO, out=share)
    share /= rise
    return share


@lru_cache(maxsize=256)
def _at_rest(target: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The tolerance of no speed, and what is left from there to 1."""
    at_rest = tolerance(np.zeros(()), target, np.inf, margin)
    return at_rest, np.asarray(1.0 - at_rest)


def _outside(value: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """How far outside [lower, upper] it is, up to the sign."""
    if lower == upper == 0.0:
        return value
    if upper == np.inf:
        return np.maximum(as_scalar_array(lower) - value, _ZERO)
    beyond = np.maximum(value - as_scalar_array(upper), _ZERO)
    return beyond if lower == -np.inf else np.maximum(as_scalar_array(lower) - value, beyond)
