"""Checks of seeding: the same seed gives the same rollout, and different seeds different ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.random_rollout import Rollout, random_rollout

_NUM_STEPS = 120  # longer than an episode of `random_rollout`, so that a second reset is included
_TOLERANCE = 1e-5  # relative and absolute: a smaller difference is a rounding error
_SEED = 7


class Difference(NamedTuple):
    """The first difference of two rollouts."""

    record_index: int
    message: str
    rounding: bool  # it is a rounding error


def check_seeds(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Run both checks of this file."""
    env, other_env = target.make(), target.make()
    first = random_rollout(target, env, _NUM_STEPS, _SEED)
    second = random_rollout(target, env, _NUM_STEPS, _SEED)
    in_other_env = random_rollout(target, other_env, _NUM_STEPS, _SEED)
    other_seed = random_rollout(target, other_env, _NUM_STEPS, _SEED + 1000)
    yield _check_same_seed(target, first, in_other_env, second)
    yield _check_other_seed(first, other_seed)


def _check_same_seed(
    target: EnvUnderTest, first: Rollout, in_other_env: Rollout, second: Rollout
) -> CheckResult:
    name = "deterministic given seed"
    for rollout, description in (
        (in_other_env, "two envs reset with the same seed"),
        (second, "one env reset twice with the same seed"),
    ):
        difference = compare(first, rollout)
        if difference is None:
            continue
        if target.spec.nondeterministic:
            return check_info(
                name,
                f"{description}: {difference.message}; the env is registered as nondeterministic",
                "an interrupted run cannot be resumed with the same results",
            )
        return check_failed(
            name,
            f"{description}, same actions: {difference.message}",
            "no run can be repeated, and an interrupted run cannot be resumed",
            _fix(difference),
        )
    count = min(len(first.records), len(in_other_env.records), len(second.records))
    return check_passed(name, f"{count} records are identical in another env and after a second reset")


def _fix(difference: Difference) -> str:
    if difference.rounding:
        return "the differences are rounding errors: run physics in one thread, or in a fixed order"
    if difference.record_index == 0:
        return "super().reset(seed=seed) first, then draw from self.np_random, never from np.random or random"
    return "set all state in reset (counters and clocks too), and draw from self.np_random only"


def _check_other_seed(first: Rollout, other: Rollout) -> CheckResult:
    if compare(first, other) is not None:
        return check_passed("different seeds differ", "another seed gives a different rollout")
    return check_info(
        "different seeds differ",
        "another seed gives the same rollout for the same actions",
        "all episodes begin in the same state: held-out episodes do not test generalization, and parallel envs "
        "explore the same",
        "draw the initial state: self.np_random.uniform(-0.1, 0.1, size=...)",
    )


def compare(first: Rollout, second: Rollout) -> Difference | None:
    """Return the first difference of two rollouts; None if they are identical."""
    for index, (a, b) in enumerate(zip(first.records, second.records)):
        for name in ("observation", "reward", "terminated", "truncated"):
            difference = _difference(getattr(a, name), getattr(b, name), name)
            if difference is not None:
                return Difference(index, f"{a.name}: {difference[0]}", difference[1])
    return None


def _difference(x: Any, y: Any, path: str) -> tuple[str, bool] | None:
    if isinstance(x, dict) and isinstance(y, dict) and x.keys() == y.keys():
        pairs = ((x[key], y[key], f"{path}[{key!r}]") for key in x)
    elif isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)) and len(x) == len(y):
        pairs = ((p, q, f"{path}[{i}]") for i, (p, q) in enumerate(zip(x, y)))
    else:
        return _array_difference(x, y, path)
    return next((d for d in (_difference(*pair) for pair in pairs) if d is not None), None)


def _array_difference(x: Any, y: Any, path: str) -> tuple[str, bool] | None:
    a, b = np.asarray(x), np.asarray(y)
    if a.shape != b.shape:
        return f"{path} has shape {a.shape} and {b.shape}", False
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return None if repr(x) == repr(y) else (f"{path} is {x!r} and {y!r}", False)
    a, b = a.astype(np.float64), b.astype(np.float64)
    unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not unequal.any():
        return None
    index = tuple(int(i) for i in np.argwhere(unequal)[0])
    subscript = f"[{', '.join(map(str, index))}]" if index else ""
    rounding = bool(np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
    return f"{path}{subscript} is {a[index]:.9g} and {b[index]:.9g}", rounding
