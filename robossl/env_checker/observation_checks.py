"""What an environment shows, held against its observation space: form, numbers, bounds, permanence."""

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


def senses(space: gym.Space, life: Rollout) -> Iterator[CheckResult]:
    """All findings on the observations of a life."""
    yield form(space, life)
    yield shape(space, life)
    yield finite(space, life)
    yield bounds(space, life)
    yield observations_not_mutated(life)


def parts(space: gym.Space, value: Any, path: str = "") -> Iterator[tuple[str, gym.Space, Any]]:
    """Each plain space inside, its path, and what the value has there; `_MISSING` where it has nothing."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            below = value[key] if isinstance(value, dict) and key in value else _MISSING
            yield from parts(inner, below, f"{path}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            there = isinstance(value, (tuple, list)) and index < len(value)
            yield from parts(inner, value[index] if there else _MISSING, f"{path}[{index}]")
    else:
        yield path, space, value


def _each(space: gym.Space, life: Rollout) -> Iterator[tuple[StepRecord, str, gym.Space, Any]]:
    for moment in life.moments:
        for path, leaf, value in parts(space, moment.observation):
            yield moment, f"observation{path}", leaf, value


def _count(life: Rollout) -> str:
    return f"{len(life.moments)} observations"


def form(space: gym.Space, life: Rollout) -> CheckResult:
    """Every part is there, an array (or a whole number for a Discrete) of the space's dtype."""
    for moment, name, leaf, value in _each(space, life):
        if value is _MISSING:
            return check_failed(
                "observation form",
                f"{moment.name}: {name} is missing; the space is {type(space).__name__}",
                "what the space promises has to come at every step, or there is no row to write",
                f"put it into what reset and step return, or take it out of the space ({format_space(leaf)})",
            )
        if isinstance(leaf, spaces.Discrete):
            right = isinstance(value, (int, np.integer)) or (
                isinstance(value, np.ndarray) and value.shape == ()
            )
            given, line = type(value).__name__, "int(value)"
        else:
            right = isinstance(value, (np.ndarray, np.generic)) and value.dtype == leaf.dtype
            given = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            line = f"np.asarray(value, dtype=np.{leaf.dtype})"
        if not right:
            return check_failed(
                "observation form",
                f"{moment.name}: {name} is {_article(given)}; the space says {leaf.dtype}",
                "numbers are rounded, or cut off, when they are stored as what the space says",
                f"return it as {line}",
            )
    return check_passed("observation form", f"{_count(life)} have the form and dtype of their space")


def _article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _fits(leaf: gym.Space, value: Any) -> bool:
    """The value has the space's shape, so that its numbers can be compared with bounds."""
    return value is not _MISSING and np.shape(value) == tuple(leaf.shape or ())


def shape(space: gym.Space, life: Rollout) -> CheckResult:
    """The shape is the space's, at every step."""
    for moment, name, leaf, value in _each(space, life):
        if value is not _MISSING and not _fits(leaf, value):
            return check_failed(
                "observation shape",
                f"{moment.name}: {name} has shape {np.shape(value)}; the space: {tuple(leaf.shape or ())}",
                "a stream and a network have room for one shape only",
                "always return that many numbers: fill up with zeros, and say in another part how many count",
            )
    return check_passed("observation shape", f"{_count(life)} have the shape of their space")


def _numbers(value: Any) -> np.ndarray | None:
    """The value as float numbers; None where it holds none."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


def finite(space: gym.Space, life: Rollout) -> CheckResult:
    """No NaN, no infinity."""
    for moment, name, _, value in _each(space, life):
        numbers = None if value is _MISSING else _numbers(value)
        if numbers is not None and not np.isfinite(numbers).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
            return check_failed(
                "observation finite",
                f"{moment.name}: {name}{_at(index)} is {numbers[index]}",
                "one such number spoils a whole network; recording stops there",
                "find where it comes from (a division by 0, the root of a negative, physics that exploded) "
                "and end the episode before it: terminated = not np.isfinite(state).all()",
            )
    return check_passed("observation finite", f"no NaN and no infinity in {_count(life)}")


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def bounds(space: gym.Space, life: Rollout) -> CheckResult:
    """Every number is inside its space. Of what has another shape, or is not finite, the others speak."""
    for moment, name, leaf, value in _each(space, life):
        if not _fits(leaf, value):
            continue
        numbers = _numbers(value)
        if numbers is None or not np.isfinite(numbers).all():
            continue
        out = _outside(leaf, numbers)
        if out is None:
            continue
        index, low, high = out
        line = f"np.clip(observation, {low:.4g}, {high:.4g}).astype(np.{leaf.dtype})"
        return check_failed(
            "observation inside its space",
            f"{moment.name}: {name}{_at(index)} is {numbers[index]:.6g}; the space: {low:.4g} to {high:.4g}",
            "whoever scales or codes by the bounds gets numbers that cannot be",
            f"widen the bounds to what can come, or clip: {line}",
        )
    return check_passed("observation inside its space", f"{_count(life)} are inside their space")


def _outside(leaf: gym.Space, numbers: np.ndarray) -> tuple[tuple[int, ...], float, float] | None:
    """The first index that is out of bounds, and its bounds."""
    if isinstance(leaf, spaces.Box):
        low, high = (
            np.broadcast_to(bound, numbers.shape).astype(np.float64) for bound in (leaf.low, leaf.high)
        )
    elif isinstance(leaf, spaces.Discrete):
        low, high = np.full((), float(leaf.start)), np.full((), float(leaf.start + leaf.n - 1))
    elif isinstance(leaf, spaces.MultiDiscrete):
        start = np.asarray(leaf.start, np.float64)
        low, high = start, start + leaf.nvec - 1
    elif isinstance(leaf, spaces.MultiBinary):
        low, high = np.zeros(numbers.shape), np.ones(numbers.shape)
    else:
        return None
    out = np.argwhere((numbers < low) | (numbers > high))
    if len(out) == 0:
        return None
    index = tuple(int(i) for i in out[0])
    return index, float(low[index]), float(high[index])


def observations_not_mutated(life: Rollout) -> CheckResult:
    """What was handed over is not written to afterwards."""
    for moment in life.moments:
        path = _changed(moment.returned, moment.observation)
        if path is not None:
            return check_failed(
                "observations are left alone",
                f"{moment.name}: observation{path}, already handed over, was changed by a later call",
                "whoever keeps observations, as a replay or a rollout does, finds the last one everywhere",
                "return a copy: return self._observation.copy(), ...",
            )
    return check_passed(
        "observations are left alone", f"{_count(life)} are still what they were when they came"
    )


def _changed(now: Any, then: Any, path: str = "") -> str | None:
    """The path of the first array that is no longer what it was."""
    if isinstance(now, dict) and isinstance(then, dict):
        changes = (_changed(now.get(key), value, f"{path}[{key!r}]") for key, value in then.items())
    elif isinstance(now, (tuple, list)) and isinstance(then, (tuple, list)) and len(now) == len(then):
        changes = (_changed(n, t, f"{path}[{i}]") for i, (n, t) in enumerate(zip(now, then)))
    elif isinstance(now, np.ndarray) and isinstance(then, np.ndarray):
        same = now.shape == then.shape and now.tobytes() == then.tobytes()
        return None if same else path
    else:
        return None
    return next((change for change in changes if change is not None), None)
