"""Whether a seed decides a life, and another seed another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.random_rollout import Rollout, random_rollout

_STEPS = 120  # beyond one episode as `live` cuts them, so that a second reset is among them
_CLOSE = 1e-5  # relative and absolute: what is nearer differs by rounding
_SEED = 7


def seeds(case: EnvUnderTest) -> Iterator[CheckResult]:
    """Both findings on seeds."""
    here, there = case.make(), case.make()
    first = random_rollout(case, here, _STEPS, _SEED)
    again = random_rollout(case, here, _STEPS, _SEED)
    other_env = random_rollout(case, there, _STEPS, _SEED)
    other_seed = random_rollout(case, there, _STEPS, _SEED + 1000)
    yield _same(case, first, other_env, again)
    yield _other(first, other_seed)


def _same(case: EnvUnderTest, first: Rollout, other: Rollout, again: Rollout) -> CheckResult:
    for life, what in (
        (other, "two envs made alike and reset with the same seed"),
        (again, "one env, reset twice"),
    ):
        difference = compare(first, life)
        if difference is None:
            continue
        where, words, close = difference
        if case.spec.nondeterministic:
            return check_info(
                "same seed, same life",
                f"{what}: {words}; the env is registered as nondeterministic",
                "a run that was interrupted cannot be taken up to the same bits",
            )
        return check_failed(
            "same seed, same life",
            f"{what}, given the same actions: {words}",
            "no run can be repeated, and an interrupted run cannot be taken up where it was",
            _mend(where, close),
        )
    count = min(len(first.moments), len(other.moments), len(again.moments))
    return check_passed(
        "same seed, same life", f"{count} moments are the same to the bit, in another env and after a reset"
    )


def _mend(where: int, close: bool) -> str:
    if close:
        return "the differences are of rounding: run physics in one thread, or in a fixed order"
    if where == 0:
        return "super().reset(seed=seed) first, then draw from self.np_random, never from np.random or random"
    return (
        "set everything anew in reset, and draw from self.np_random only: no counter or clock may outlive it"
    )


def _other(first: Rollout, other: Rollout) -> CheckResult:
    if compare(first, other) is not None:
        return check_passed("other seed, other life", "another seed brings another life")
    return check_info(
        "other seed, other life",
        "another seed brings the very same life, given the same actions",
        "every episode begins alike: held-out episodes are no test, and lanes explore the same",
        "draw where an episode begins: self.np_random.uniform(-0.1, 0.1, size=...)",
    )


def compare(one: Rollout, other: Rollout) -> tuple[int, str, bool] | None:
    """The index of the first moment that differs, how it differs, and whether that is only rounding."""
    for index, (a, b) in enumerate(zip(one.moments, other.moments)):
        for what, x, y in (
            ("observation", a.observation, b.observation),
            ("reward", a.reward, b.reward),
            ("terminated", a.terminated, b.terminated),
            ("truncated", a.truncated, b.truncated),
        ):
            found = _difference(x, y, what)
            if found is not None:
                return index, f"{a.name}: {found[0]}", found[1]
    return None


def _difference(x: Any, y: Any, path: str) -> tuple[str, bool] | None:
    if isinstance(x, dict) and isinstance(y, dict) and x.keys() == y.keys():
        pairs = ((x[key], y[key], f"{path}[{key!r}]") for key in x)
    elif isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)) and len(x) == len(y):
        pairs = ((p, q, f"{path}[{i}]") for i, (p, q) in enumerate(zip(x, y)))
    else:
        return _unequal(x, y, path)
    return next((found for found in (_difference(*pair) for pair in pairs) if found is not None), None)


def _unequal(x: Any, y: Any, path: str) -> tuple[str, bool] | None:
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
    at = f"[{', '.join(map(str, index))}]" if index else ""
    close = bool(np.allclose(a, b, rtol=_CLOSE, atol=_CLOSE, equal_nan=True))
    return f"{path}{at} is {a[index]:.9g} and {b[index]:.9g}", close
