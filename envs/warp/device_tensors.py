"""Constants on a device: numbers and numpy arrays of robots, copied there once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

_MAX_CONSTANTS = 4096  # of a process; robot code has some tens
_constants: dict[tuple[Any, ...], torch.Tensor] = {}


def torch_dtype(dtype: Any) -> torch.dtype:
    """Return the type on a device of a numpy type: float32 for every floating-point type."""
    kind = np.dtype(dtype).kind
    if kind == "f":
        return torch.float32
    if kind == "b":
        return torch.bool
    if np.dtype(dtype) == np.uint8:
        return torch.uint8
    if kind in "iu":
        return torch.int64
    raise TypeError(f"expected an array of numbers, got one of {np.dtype(dtype)}")


def constant(value: Any, device: torch.device) -> torch.Tensor:
    """Return a number or a numpy array as a tensor on a device.

    A captured graph cannot copy from the host, so that equal values share one tensor, which stays until the end of the
    process. Tensors are returned as they are.

    Raises:
        TypeError: There are too many different ones: code makes new numbers at every step.
    """
    if isinstance(value, torch.Tensor):
        return value
    array = np.asarray(value)
    content = array.tobytes()
    if len(content) > 64:
        content = hashlib.blake2b(content, digest_size=16).digest()
    key = (device, array.shape, array.dtype.str, content)
    tensor = _constants.get(key)
    if tensor is None:
        if len(_constants) >= _MAX_CONSTANTS:
            raise TypeError(
                f"expected at most {_MAX_CONSTANTS} different numpy arrays in robot code on a device, got more; "
                "compute from the arrays of the batch, not from new numpy arrays at every step"
            )
        tensor = torch.as_tensor(np.array(array), dtype=torch_dtype(array.dtype), device=device)
        _constants[key] = tensor
    return tensor


def index_tensor(index: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return indices, or a mask, as a tensor on a device."""
    return constant(index if index.size else index.astype(np.int64), device)
