"""Arrays of robots and tasks: numpy arrays, or arrays of a device that numpy's functions accept."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(value: Any, dtype: Any = None) -> Any:
    """Return a value as an array of `dtype`; an array of a device stays there, with the one type of its numbers.

    `np.asarray` would copy it to the host: reward, success and observation code uses this function instead.

    Example:
        value = robossl.envs.as_array(value, np.float64)

    Args:
        value: A number, a sequence, or an array of any device.
        dtype: Type of the elements; None keeps that of the value.
    """
    if not isinstance(value, np.ndarray) and hasattr(value, "__array_function__"):
        return value
    return np.asarray(value, dtype)
