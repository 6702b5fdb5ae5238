"""Conversion between numpy arrays and torch tensors: functions return the array type that they receive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError


def to_tensor(value: Any, device: torch.device) -> Tensor:
    """Return `value` as a tensor on `device`; float64 becomes float32, a read-only array is copied."""
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise UsageError(f"expected numbers, got {type(value).__name__}")
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        value = torch.from_numpy(array) if array.ndim else torch.as_tensor(array.item())
    if value.dtype == torch.float64:
        value = value.float()
    return value.to(device, non_blocking=True)


def contains_tensor(value: Any) -> bool:
    """Return whether `value` is a tensor or a dict, tuple or list that contains one."""
    if isinstance(value, dict):
        return any(contains_tensor(v) for v in value.values())
    if isinstance(value, (tuple, list)):
        return any(contains_tensor(v) for v in value)
    return isinstance(value, Tensor)


def to_arrays(value: Any) -> Any:
    """Return `value` with each tensor, also inside dicts and tuples, as a numpy array."""
    if isinstance(value, dict):
        return {k: to_arrays(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(to_arrays(v) for v in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def match_array_type(*inputs: Any, compute: Callable[[], Any]) -> Any:
    """Return `compute()`: tensors with gradients if `inputs` contain a tensor, else numpy arrays."""
    if contains_tensor(inputs):
        return compute()
    with torch.no_grad():
        return to_arrays(compute())
