"""Smooth rewards in [0, 1]: `tolerance` (after dm_control) and `speed_reward`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..engine.arrays import as_array

_VALUE_AT_MARGIN = 0.1


@lru_cache(maxsize=256)
def as_scalar_array(value: float) -> np.ndarray:
    """Return a cached 0-d array of a number.

    It saves numpy the conversion of a Python float in every expression, about half the cost of a short one. It is
    float64, so an expression with float32 arrays becomes float64.
    """
    constant = np.array(value, np.float64)
    constant.flags.writeable = False
    return constant


_ZERO, _ONE = as_scalar_array(0.0), as_scalar_array(1.0)


def tolerance(value: np.ndarray, lower: float = 0.0, upper: float = 0.0, margin: float = 0.0) -> np.ndarray:
    """Return 1 inside [lower, upper], falling smoothly to 0 outside.

    The value at distance d outside is 1 / (1 + 9 (d / margin)^2): a long tail, so that there is a slope everywhere.

    Example:
        reward = robossl.envs.tolerance(distance, upper=0.02, margin=0.1)  # 1 within 2 cm, 0.1 at 12 cm

    Args:
        value: Array of any shape.
        lower: Lower bound, may be -inf.
        upper: Upper bound, may be inf.
        margin: Distance at which the value is 0.1; if 0, the value is 0 everywhere outside.

    Returns:
        Float64 array in [0, 1] with the shape of `value`.
    """
    lower, upper, margin = float(lower), float(upper), float(margin)
    distance = _signed_distance(as_array(value, np.float64), lower, upper)
    if margin == 0.0:
        return (distance == _ZERO).astype(np.float64)
    square = as_array(distance * distance)  # the next operations work in place
    square *= _tail_scale(margin)
    square += _ONE
    return np.reciprocal(square, out=square)


@lru_cache(maxsize=256)
def _tail_scale(margin: float) -> np.ndarray:
    """Return the factor of the squared distance."""
    return as_scalar_array((1.0 / _VALUE_AT_MARGIN - 1.0) / margin**2)


def speed_reward(speed: np.ndarray, target: float) -> np.ndarray:
    """Return 0 at rest or in the wrong direction and 1 at `target` [m/s] or faster; almost linear between."""
    margin = 2 * target  # so that [0, target] is the nearly linear part of the tolerance
    at_rest, rise = _at_rest(target, margin)
    reward = tolerance(speed, target, np.inf, margin)
    reward -= at_rest
    np.maximum(reward, _ZERO, out=reward)
    reward /= rise
    return reward


@lru_cache(maxsize=256)
def _at_rest(target: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the tolerance at rest, and the difference from there to 1."""
    at_rest = tolerance(np.zeros(()), target, np.inf, margin)
    return at_rest, np.asarray(1.0 - at_rest)


def _signed_distance(value: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Return the distance outside [lower, upper]; its sign has no meaning."""
    if lower == upper == 0.0:
        return value
    if upper == np.inf:
        return np.maximum(as_scalar_array(lower) - value, _ZERO)
    above = np.maximum(value - as_scalar_array(upper), _ZERO)
    return above if lower == -np.inf else np.maximum(as_scalar_array(lower) - value, above)
