"""What an environment promises before it is lived in: that it can be made, and the form of reset and step."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from typing import Any

from robossl.env_checker.check_result import CheckResult, check_failed, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_RESET = (
    "def reset(self, *, seed=None, options=None):\n"
    "    super().reset(seed=seed)\n"
    "    ...\n"
    "    return observation, info"
)
_STEP = "return observation, float(reward), bool(terminated), bool(truncated), info"


def made(case: EnvUnderTest) -> Iterator[CheckResult]:
    """It can be made."""
    began = time.perf_counter()
    env = case.make()
    yield check_passed("made", f"gymnasium.make({case.spec.id!r}) in {time.perf_counter() - began:.2f} s")
    case.close(env)


def reset(case: EnvUnderTest) -> Iterator[CheckResult]:
    """reset(seed=, options=) gives (observation, info)."""
    env = case.make()
    raw = env.unwrapped  # past the wrappers, which would raise at another form
    missing = {"seed", "options"} - _parameters(raw.reset)
    if missing:
        yield check_failed(
            "reset",
            f"{type(raw).__name__}.reset takes no {' and no '.join(sorted(missing, reverse=True))}",
            "without a seed no run can be repeated",
            _RESET,
        )
        return
    with case.watch.call("reset(seed=0)", patience=2):
        answer = raw.reset(seed=0)
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict):
        yield check_passed("reset", "reset(seed=0) gives (observation, info)")
        return
    yield check_failed(
        "reset",
        f"reset(seed=0) gives {_form(answer)}, not (observation, info)",
        "this is an older form of the interface",
        "return observation, {}",
    )


def _parameters(function: Any) -> set[str]:
    """The names a function takes; of one that takes any, those asked for here."""
    given = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in given.values()):
        return {"seed", "options"}
    return set(given)


def _form(answer: Any) -> str:
    if isinstance(answer, tuple):
        return f"{len(answer)} values ({', '.join(type(part).__name__ for part in answer)})"
    return f"a {type(answer).__name__}"


def step(case: EnvUnderTest) -> Iterator[CheckResult]:
    """step(action) gives (observation, reward, terminated, truncated, info)."""
    env = case.make()
    raw = env.unwrapped
    with case.watch.call("reset(seed=0)", patience=2):
        raw.reset(seed=0)
    env.action_space.seed(0)
    action = env.action_space.sample()
    with case.watch.call("step(action)"):
        answer = raw.step(action)
    if isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict):
        yield check_passed("step", "step(action) gives (observation, reward, terminated, truncated, info)")
        return
    if isinstance(answer, tuple) and len(answer) == 5:
        yield check_failed(
            "step",
            f"step(action) gives an info of type {type(answer[4]).__name__}, not a dict",
            "everybody looks things up in it, if only to find nothing",
            "return observation, reward, terminated, truncated, {}",
        )
        return
    old = isinstance(answer, tuple) and len(answer) == 4
    yield check_failed(
        "step",
        f"step(action) gives {_form(answer)}, not 5: observation, reward, terminated, truncated, info",
        "this is the older form with one done: a true ending and a time limit look the same"
        if old
        else "it cannot be read",
        _STEP,
    )
