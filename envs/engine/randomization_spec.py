"""Rules: what is asked of a lane's variations, checked, and values drawn from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .randomized_parameter import RandomizedParameter, Span

Rule = dict[str, Any]  # by factor a value, a span [low, high], "train" or "test"; what is missing is nominal

_NAMED = ("train", "test")


def validate_spec(rule: Any, factors: Mapping[str, RandomizedParameter]) -> Rule:
    """`rule` (a dict as above, "train" or "test" for all factors, None for none) as plain JSON."""
    if rule is None:
        return {}
    if isinstance(rule, str) and rule in _NAMED:
        return dict.fromkeys(factors, rule)
    if not isinstance(rule, Mapping):
        raise UsageError(f"expected randomization 'train', 'test' or a dict by name, got {rule!r}")
    for name in rule:
        if name not in factors:
            raise unknown_name_error("variation", name, factors)
    return {name: _checked(factors[name], asked) for name, asked in rule.items()}


def _checked(factor: RandomizedParameter, asked: Any) -> Any:
    if isinstance(asked, str):
        if asked in _NAMED:
            return asked
        raise UsageError(f"{factor.name} is {asked!r}; expected a number, [low, high], 'train' or 'test'")
    low, high = factor.bounds
    values = np.asarray(asked)
    numbers = values.dtype.kind in "iuf" and values.shape in ((), (2,))
    if numbers and factor.whole:
        numbers = bool((values == np.round(values)).all())
    if (
        not numbers
        or not ((values >= low) & (values <= high)).all()
        or (values.ndim and values[0] > values[1])
    ):
        kind = "whole numbers" if factor.whole else "numbers"
        raise UsageError(
            f"{factor.name} is {asked!r}; expected {kind} from {low:g} to {high:g} [{factor.unit}]: "
            "a value, or [lowest, highest]"
        )
    return float(values) if values.ndim == 0 else [float(value) for value in values]


def sample_spec(
    rule: Rule, factors: Mapping[str, RandomizedParameter], random: np.random.Generator
) -> np.ndarray:
    """(F,) a value for each factor, in the order of `factors`."""
    return np.array([_drawn(factor, rule.get(name), random) for name, factor in factors.items()])


def _drawn(factor: RandomizedParameter, asked: Any, random: np.random.Generator) -> float:
    if asked is None:
        return factor.nominal
    if isinstance(asked, float):
        return asked
    spans: Sequence[Span] = [tuple(asked)] if isinstance(asked, list) else getattr(factor, asked)
    lengths = np.array([high - low + factor.whole for low, high in spans])
    total = lengths.sum()
    low, high = spans[int(random.choice(len(spans), p=lengths / total))] if total else spans[0]
    if factor.whole:
        return float(random.integers(math.ceil(low), math.floor(high) + 1))
    return float(random.uniform(low, high))
