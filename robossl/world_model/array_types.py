"""Arrays in, arrays out; tensors in, tensors out: the door between numpy and torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensor(value: Any, device: torch.device) -> Tensor:
    """A tensor of `value` on `device`; doubles become floats, read-only arrays are copied first."""
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        value = torch.from_numpy(array) if array.ndim else torch.as_tensor(array.item())
    if value.dtype == torch.float64:
        value = value.float()
    return value.to(device, non_blocking=True)


def holds_tensors(value: Any) -> bool:
    """Whether `value`, or anything inside a dict or tuple of values, is a tensor."""
    if isinstance(value, dict):
        return any(holds_tensors(v) for v in value.values())
    if isinstance(value, (tuple, list)):
        return any(holds_tensors(v) for v in value)
    return isinstance(value, Tensor)


def arrays(value: Any) -> Any:
    """Tensors, alone or inside dicts and tuples, as numpy arrays."""
    if isinstance(value, dict):
        return {k: arrays(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(arrays(v) for v in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def match_array_type(*given: Any, compute: Callable[[], Any]) -> Any:
    """`compute()`, with gradients where tensors were given and as numpy arrays, without, where not."""
    if holds_tensors(given):
        return compute()
    with torch.no_grad():
        return arrays(compute())
