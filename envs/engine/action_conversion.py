"""Actions of third-party envs as one Box of floats or one Discrete, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space

_MAX_COMBINATIONS = (
    64  # of choices that are numbered as one Discrete; more become numbers, one for each choice
)
_MAX_NUMBERS = 4096  # of a flattened action


class ConvertedActions(NamedTuple):
    """An action space that agents support, and the function from its actions to those of the env."""

    space: spaces.Box | spaces.Discrete
    to_env: Callable[[np.ndarray], Any]
    description: str  # how the space was converted; empty if it was not


class _Part(NamedTuple):
    """One leaf of an action space: its numbers in the flat action, and the function from them to its value."""

    low: np.ndarray  # (k,)
    high: np.ndarray  # (k,)
    choices: tuple[int, ...]  # number of choices of each of the k numbers; empty: they are not choices
    to_value: Callable[[np.ndarray], Any]  # (k,) float64 -> the value of the leaf


def convert_actions(space: spaces.Space) -> ConvertedActions:
    """Return an action space as a Box of floats or a Discrete.

    A float Box and a Discrete stay. Choices alone, with at most 64 combinations, are numbered as one Discrete.
    Anything else of boxes and choices becomes a Box of one dimension: numbers of boxes keep their bounds, and a choice
    among n is a number from -1 to 1, cut into n equal intervals.

    Raises:
        UsageError: If a part of the space is neither a bounded Box nor a choice.
    """
    if isinstance(space, spaces.Discrete):
        return ConvertedActions(space, lambda action: action, "")
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return ConvertedActions(space, _cast(space.dtype), "")
    parts, join = _parts(space)
    sizes = [len(part.low) for part in parts]
    offsets = np.cumsum([0, *sizes])
    if not 0 < offsets[-1] <= _MAX_NUMBERS:
        raise UsageError(
            f"expected an action space of 1 to {_MAX_NUMBERS:,} numbers, got {format_space(space)} with {offsets[-1]:,}"
        )

    def to_env(action: np.ndarray) -> Any:
        numbers = np.asarray(action, np.float64).reshape(-1)
        return join([p.to_value(numbers[a:b]) for p, a, b in zip(parts, offsets[:-1], offsets[1:])])

    choices = [count for part in parts for count in part.choices]
    only_choices = all(part.choices for part in parts)
    if only_choices and math.prod(choices) <= _MAX_COMBINATIONS:
        counts = tuple(choices)
        centers = [(2.0 * np.arange(n) + 1.0) / n - 1.0 for n in counts]  # the middle of each interval

        def from_index(action: np.ndarray) -> Any:
            indices = np.unravel_index(int(action), counts)
            return to_env(np.array([center[i] for center, i in zip(centers, indices)]))

        combinations = math.prod(counts)
        return ConvertedActions(
            spaces.Discrete(combinations),
            from_index,
            f"{format_space(space)}: {combinations} combinations, numbered",
        )
    low, high = (np.concatenate([getattr(part, side) for part in parts]) for side in ("low", "high"))
    box = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    return ConvertedActions(box, to_env, f"{format_space(space)}: flattened to {format_space(box)}")


def _cast(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that casts to `dtype` by way of float32, the type of recorded actions."""

    def cast(action: np.ndarray) -> np.ndarray:
        return np.asarray(np.asarray(action, np.float32), dtype)

    return cast


def _parts(space: spaces.Space) -> tuple[list[_Part], Callable[[list[Any]], Any]]:
    """Return the leaves of a space in order, and the function that joins their values."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inner = (
            list(space.spaces.items()) if isinstance(space, spaces.Dict) else list(enumerate(space.spaces))
        )
        below = [_parts(child) for _, child in inner]
        counts = np.cumsum([0, *(len(parts) for parts, _ in below)])

        def join(values: list[Any]) -> Any:
            children = [
                join_child(values[a:b]) for (_, join_child), a, b in zip(below, counts[:-1], counts[1:])
            ]
            if isinstance(space, spaces.Dict):
                return {name: child for (name, _), child in zip(inner, children)}
            return tuple(children)

        return [part for parts, _ in below for part in parts], join
    return [_leaf(space)], lambda values: values[0]


def _leaf(space: spaces.Space) -> _Part:
    if isinstance(space, spaces.Box):
        return _box(space)
    if isinstance(space, spaces.Discrete):
        low, count, kind = int(space.start), int(space.n), space.dtype
        return _choices((count,), lambda index: np.asarray(low + index[0], kind)[()])
    if isinstance(space, spaces.MultiDiscrete):
        start, shape = np.asarray(space.start), space.nvec.shape
        counts = tuple(int(n) for n in space.nvec.reshape(-1))
        return _choices(counts, lambda index: (start + index.reshape(shape)).astype(space.dtype))
    if isinstance(space, spaces.MultiBinary):
        counts = (2,) * math.prod(space.shape)
        return _choices(counts, lambda index: index.reshape(space.shape).astype(space.dtype))
    raise UsageError(
        "expected an action space of Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple, got "
        f"{format_space(space)}"
    )


def _box(space: spaces.Box) -> _Part:
    integer = not np.issubdtype(space.dtype, np.floating)
    if integer and not space.is_bounded("both"):
        raise UsageError(f"expected bounds of an action space of integers, got {format_space(space)}")
    low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (space.low, space.high))
    low32, high32 = low.astype(np.float32), high.astype(np.float32)

    def to_value(numbers: np.ndarray) -> np.ndarray:
        value = np.clip(np.rint(numbers) if integer else numbers, low, high)
        return value.reshape(space.shape).astype(space.dtype)

    return _Part(low32, high32, (), to_value)


def _choices(counts: tuple[int, ...], to_value: Callable[[np.ndarray], Any]) -> _Part:
    """Return the part of choices among `counts`; `to_value` gets the index of each choice, from 0."""
    n = np.array(counts)
    ones = np.ones(len(counts))

    def from_numbers(numbers: np.ndarray) -> Any:
        return to_value(np.clip(np.floor((numbers + 1.0) / 2.0 * n), 0, n - 1).astype(np.int64))

    return _Part(-ones, ones, counts, from_numbers)
