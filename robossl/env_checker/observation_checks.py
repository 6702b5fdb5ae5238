"""Checks of the observations of a rollout against their space: structure, shape, bounds, mutation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robossl.core.spaces import format_space
from robossl.env_checker.check_result import CheckResult, check_failed, check_passed
from robossl.env_checker.random_rollout import Rollout, StepRecord

_MISSING = object()


def check_observations(space: gym.Space, rollout: Rollout) -> Iterator[CheckResult]:
    """Run all checks of this file."""
    yield check_structure(space, rollout)
    yield check_shape(space, rollout)
    yield check_bounds(space, rollout)
    yield check_not_mutated(rollout)


def _leaves(space: gym.Space, value: Any, path: str = "") -> Iterator[tuple[str, gym.Space, Any]]:
    """Yield (path, space, value) for each leaf of a space; the value is `_MISSING` where there is none."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            child = value[key] if isinstance(value, dict) and key in value else _MISSING
            yield from _leaves(inner, child, f"{path}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            present = isinstance(value, (tuple, list)) and index < len(value)
            yield from _leaves(inner, value[index] if present else _MISSING, f"{path}[{index}]")
    elif isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
        yield path, space, value  # other parts are left out of streams


def _all_leaves(space: gym.Space, rollout: Rollout) -> Iterator[tuple[StepRecord, str, gym.Space, Any]]:
    for record in rollout.records:
        for path, leaf, value in _leaves(space, record.observation):
            yield record, f"observation{path}", leaf, value


def _count(rollout: Rollout) -> str:
    return f"{len(rollout.records)} observations"


def check_structure(space: gym.Space, rollout: Rollout) -> CheckResult:
    """Check that every leaf is present and has the dtype of its space (an integer for a Discrete)."""
    name = "observation structure"
    for record, leaf_name, leaf, value in _all_leaves(space, rollout):
        if value is _MISSING:
            return check_failed(
                name,
                f"{record.name}: {leaf_name} is missing; the space is {type(space).__name__}",
                "every key of the space must be in every observation, or the time step cannot be recorded",
                f"add it in reset and step, or remove it from the space ({format_space(leaf)})",
            )
        if isinstance(leaf, spaces.Discrete):
            correct = isinstance(value, (int, np.integer)) or (
                isinstance(value, np.ndarray) and value.shape == ()
            )
            form, line = type(value).__name__, "int(value)"
        else:
            correct = isinstance(value, (np.ndarray, np.generic)) and value.dtype == leaf.dtype
            form = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            line = f"np.asarray(value, dtype=np.{leaf.dtype})"
        if not correct:
            return check_failed(
                name,
                f"{record.name}: {leaf_name} is {_article(form)}, expected {leaf.dtype} as in the space",
                "converting it to the dtype of the space rounds or truncates numbers",
                f"return {line}",
            )
    return check_passed(name, f"{_count(rollout)} have the structure and dtypes of their space")


def _article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _has_shape(leaf: gym.Space, value: Any) -> bool:
    return value is not _MISSING and np.shape(value) == tuple(leaf.shape or ())


def check_shape(space: gym.Space, rollout: Rollout) -> CheckResult:
    """Check that the shape is that of the space at every step."""
    for record, leaf_name, leaf, value in _all_leaves(space, rollout):
        if value is not _MISSING and not _has_shape(leaf, value):
            return check_failed(
                "observation shape",
                f"{record.name}: {leaf_name} has shape {np.shape(value)}, expected {tuple(leaf.shape or ())}",
                "a stream and a network need a fixed shape",
                "always return that many numbers: pad with zeros, and add a mask of those that count",
            )
    return check_passed("observation shape", f"{_count(rollout)} have the shape of their space")


def _as_float(value: Any) -> np.ndarray | None:
    """Return the value as float64; None if it is not numeric."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def check_bounds(space: gym.Space, rollout: Rollout) -> CheckResult:
    """Check that every number is within its space; other checks report wrong shapes and non-finite numbers."""
    for record, leaf_name, leaf, value in _all_leaves(space, rollout):
        if not _has_shape(leaf, value):
            continue
        numbers = _as_float(value)
        if numbers is None or not np.isfinite(numbers).all():
            continue
        violation = _first_violation(leaf, numbers)
        if violation is None:
            continue
        index, low, high = violation
        line = f"np.clip(observation, {low:.4g}, {high:.4g}).astype(np.{leaf.dtype})"
        return check_failed(
            "observation bounds",
            f"{record.name}: {leaf_name}{_subscript(index)} is {numbers[index]:.6g}, "
            f"expected {low:.4g} to {high:.4g}",
            "code that scales or encodes by the bounds produces invalid values",
            f"widen the bounds, or clip: {line}",
        )
    return check_passed("observation bounds", f"{_count(rollout)} are within their space")


def _first_violation(leaf: gym.Space, numbers: np.ndarray) -> tuple[tuple[int, ...], float, float] | None:
    """Return the first index that is out of bounds, with its bounds."""
    if isinstance(leaf, spaces.Box):
        low, high = (np.broadcast_to(b, numbers.shape).astype(np.float64) for b in (leaf.low, leaf.high))
    elif isinstance(leaf, spaces.Discrete):
        low, high = np.full((), float(leaf.start)), np.full((), float(leaf.start + leaf.n - 1))
    elif isinstance(leaf, spaces.MultiDiscrete):
        start = np.asarray(leaf.start, np.float64)
        low, high = start, start + leaf.nvec - 1
    elif isinstance(leaf, spaces.MultiBinary):
        low, high = np.zeros(numbers.shape), np.ones(numbers.shape)
    else:
        return None
    outside = np.argwhere((numbers < low) | (numbers > high))
    if len(outside) == 0:
        return None
    index = tuple(int(i) for i in outside[0])
    return index, float(low[index]), float(high[index])


def check_not_mutated(rollout: Rollout) -> CheckResult:
    """Check that later calls do not write into a returned observation."""
    for record in rollout.records:
        path = _mutated_path(record.returned, record.observation)
        if path is not None:
            return check_failed(
                "observations not mutated",
                f"{record.name}: a later call changed observation{path}, which was already returned",
                "a replay buffer that keeps observations would hold the last one everywhere",
                "return a copy: return self._observation.copy(), ...",
            )
    return check_passed("observations not mutated", f"{_count(rollout)} are unchanged")


def _mutated_path(now: Any, before: Any, path: str = "") -> str | None:
    """Return the path of the first array that has changed."""
    if isinstance(now, dict) and isinstance(before, dict):
        paths = (_mutated_path(now.get(key), value, f"{path}[{key!r}]") for key, value in before.items())
    elif isinstance(now, (tuple, list)) and isinstance(before, (tuple, list)) and len(now) == len(before):
        paths = (_mutated_path(n, b, f"{path}[{i}]") for i, (n, b) in enumerate(zip(now, before)))
    elif isinstance(now, np.ndarray) and isinstance(before, np.ndarray):
        same = now.shape == before.shape and now.tobytes() == before.tobytes()
        return None if same else path
    else:
        return None
    return next((changed for changed in paths if changed is not None), None)
