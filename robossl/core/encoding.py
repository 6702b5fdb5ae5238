"""Encoding of leaf spaces as columns of numbers and back: the only one-hot codec, for arrays and tensors."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import numpy as np
from gymnasium import spaces
from numpy.typing import DTypeLike

from robossl.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

BINARY_THRESHOLD = 0.5  # encoded MultiBinary values above it decode to 1


def is_categorical(leaf: spaces.Space) -> bool:
    """Return whether a leaf has categories or binary values, whose columns are 0 or 1."""
    return isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))


def encoded_dim(leaf: spaces.Space) -> int:
    """Return D, the number of columns of a leaf: one for each category, or one for each element."""
    if isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete)):
        return sum(_num_categories(leaf))
    return math.prod(leaf.shape or ())


@overload
def encode(leaf: spaces.Space, values: Tensor) -> Tensor: ...
@overload
def encode(leaf: spaces.Space, values: Any, dtype: DTypeLike = ...) -> np.ndarray: ...
def encode(leaf: spaces.Space, values: Any, dtype: DTypeLike = np.float32) -> Any:
    """Return the columns (..., D) of values (..., *shape) of a leaf.

    Elements of a Discrete or MultiDiscrete become one-hot blocks; those of a Box or MultiBinary are flattened.

    Args:
        leaf: Box, Discrete, MultiDiscrete or MultiBinary.
        values: Array or tensor with any leading axes.
        dtype: Type of the returned array; tensors are float32.

    Raises:
        UsageError: If the trailing axes do not match the leaf, or an array has a category outside the space.
    """
    tensor = _is_tensor(values)
    if not tensor:
        values = np.asarray(values)
    lead = _leading_shape(leaf, tuple(values.shape))
    if not isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete)):
        flat = values.float() if tensor else values.astype(dtype, copy=False)
        return flat.reshape(*lead, encoded_dim(leaf))
    counts, starts = _num_categories(leaf), _starts(leaf)
    if tensor:
        return _one_hot_tensor(values.long().reshape(*lead, len(counts)), counts, starts)
    if values.dtype.kind == "f":
        values = np.rint(values)
    flat = values.reshape(math.prod(lead), len(counts)).astype(np.int64, copy=False)  # (N, k)
    columns = np.zeros((len(flat), sum(counts)), dtype)
    rows, offset = np.arange(len(flat)), 0
    for i, (n, start) in enumerate(zip(counts, starts)):
        index = flat[:, i] - start
        if len(index) and (index.min() < 0 or index.max() >= n):
            category = int(index[(index < 0) | (index >= n)][0]) + start
            raise UsageError(f"expected categories from {start} to {start + n - 1}, got {category}")
        columns[rows, offset + index] = 1
        offset += n
    return columns.reshape(*lead, offset)


@overload
def decode(leaf: spaces.Space, columns: Tensor) -> Tensor: ...
@overload
def decode(leaf: spaces.Space, columns: np.ndarray) -> np.ndarray: ...
def decode(leaf: spaces.Space, columns: Any) -> Any:
    """Return the values (..., *shape) of columns (..., D): inverse of `encode`, also for predicted columns.

    Categories are the largest column of their block, binary values are thresholded. Box values keep the type of
    `columns` and are not clipped.
    """
    tensor = _is_tensor(columns)
    lead, shape = tuple(columns.shape[:-1]), tuple(leaf.shape or ())
    if isinstance(leaf, spaces.Discrete):
        index = columns.argmax(-1) + int(leaf.start)
        return index if tensor else np.asarray(index, leaf.dtype)
    if isinstance(leaf, spaces.MultiDiscrete):
        counts, starts = _num_categories(leaf), _starts(leaf)
        ends = np.cumsum(counts).tolist()
        blocks = zip(ends, counts, starts)
        elements = [columns[..., end - n : end].argmax(-1) + start for end, n, start in blocks]
        if tensor:
            return sys.modules["torch"].stack(elements, -1).reshape(*lead, *shape)
        return np.stack(elements, -1).astype(leaf.dtype).reshape(*lead, *shape)
    values = columns.reshape(*lead, *shape)
    if isinstance(leaf, spaces.MultiBinary):
        binary = values > BINARY_THRESHOLD
        return binary.to(sys.modules["torch"].int8) if tensor else binary.astype(leaf.dtype)
    return values


def _is_tensor(values: Any) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # a tensor exists only if torch was imported
    return torch is not None and isinstance(values, torch.Tensor)


def _leading_shape(leaf: spaces.Space, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes before those of the leaf; raise UsageError if the trailing ones do not match."""
    expected = tuple(leaf.shape or ())
    split = len(shape) - len(expected)
    if split < 0 or shape[split:] != expected:
        raise UsageError(f"expected shape (..., *{expected}), got {shape}")
    return shape[:split]


def _num_categories(leaf: spaces.Discrete | spaces.MultiDiscrete) -> list[int]:
    """Return the number of categories of each element."""
    return [int(leaf.n)] if isinstance(leaf, spaces.Discrete) else leaf.nvec.reshape(-1).tolist()


def _starts(leaf: spaces.Discrete | spaces.MultiDiscrete) -> list[int]:
    """Return the first category of each element."""
    return [int(leaf.start)] if isinstance(leaf, spaces.Discrete) else leaf.start.reshape(-1).tolist()


def _one_hot_tensor(values: Tensor, counts: list[int], starts: list[int]) -> Tensor:
    """Return (..., D) float32 of categories (..., k)."""
    torch = sys.modules["torch"]
    one_hot = torch.nn.functional.one_hot
    blocks = [one_hot(values[..., i] - start, n).float() for i, (n, start) in enumerate(zip(counts, starts))]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -1)
