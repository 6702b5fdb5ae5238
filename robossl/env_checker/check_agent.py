"""`robossl check-agent`: run a registered agent on small envs and check that it implements the `Agent` protocol."""

from __future__ import annotations

import inspect
import os
import random
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robossl import registry
from robossl.core.errors import UsageError, one_line
from robossl.core.traceback_utils import relative_path
from robossl.env_checker.agent_checks import CHECKS, REQUIRED, CheckFailure
from robossl.env_checker.agent_under_test import ENV_KINDS, AgentUnderTest, make_world_model
from robossl.env_checker.check_result import SKIPPED, CheckResult, check_failed, check_info, check_passed
from robossl.training.agent_settings import check_settings

_ENV_KIND_TEXTS = {"continuous": "continuous actions", "discrete": "discrete actions", "goals": "goals"}


def check_agent(
    name: str,
    steps: int = 520,
    on_result: Callable[[CheckResult], None] | None = None,
    **settings: Any,
) -> list[CheckResult]:
    """Run all checks on an agent.

    Args:
        name: Name in the registry.
        steps: Env steps of each call of `learn`; beyond the agent's first gradient step, if it has one.
        on_result: Called with each result as soon as it is known.
        settings: Settings of the agent.

    Raises:
        UsageError: If there is no such agent, or it has no such setting.
    """
    factory = registry.agent(name)
    check_settings(name, settings)
    results: list[CheckResult] = []

    def add(result: CheckResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    with tempfile.TemporaryDirectory(prefix="robossl-check-") as folder:
        before = _global_state()
        result, targets = _construct(factory, settings, steps, Path(folder))
        add(result)
        if not targets:
            return results
        for check_name, check in CHECKS:
            failed_name = next((r.name for r in results if r.ok is False and r.name in REQUIRED), None)
            if failed_name is not None:
                add(check_info(check_name, f"{SKIPPED}{failed_name!r} failed"))
                continue
            add(_run(check_name, check, factory, targets))
        add(_compare_global_state(before, _global_state()))
    return results


def _construct(
    factory: Any, settings: Mapping[str, Any], steps: int, folder: Path
) -> tuple[CheckResult, list[AgentUnderTest]]:
    """Create the agent on every kind of env, without a representation or else with one."""
    targets, refusals = [], []
    for env_kind in ENV_KINDS:
        for representation in (None, make_world_model(env_kind)):
            target = AgentUnderTest(factory, settings, env_kind, representation, steps, folder)
            try:
                target.make()
            except UsageError as error:
                refusals.append(f"{env_kind}: {error}")
            except Exception as error:  # noqa: BLE001 - third-party code may raise anything
                return _raised("construction", env_kind, factory, error), []
            else:
                targets.append(target)
                break
    if not targets:
        return (
            check_failed(
                "construction",
                "; ".join(refusals[::2]),
                "no env of robossl works with the agent",
                "make(envs, representation=None, seed=0, device='auto', **settings) -> Agent",
            ),
            [],
        )
    texts = [
        f"{_ENV_KIND_TEXTS[t.env_kind]}{'' if t.representation is None else ' with a representation'}"
        for t in targets
    ]
    return check_passed("construction", f"works with {', '.join(texts)}"), targets


def _run(
    name: str, check: Callable[[AgentUnderTest], str], factory: Any, targets: list[AgentUnderTest]
) -> CheckResult:
    """Run a check on all targets; return its first problem."""
    messages: dict[str, list[str]] = {}
    for target in targets:
        try:
            messages.setdefault(check(target), []).append(target.env_kind)
        except CheckFailure as failure:
            return check_failed(name, f"{target.env_kind}: {failure}", failure.reason, failure.fix)
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            return _raised(name, target.env_kind, factory, error)
    if len(messages) == 1:
        return check_passed(name, next(iter(messages)))
    return check_passed(name, "; ".join(f"{', '.join(kinds)}: {text}" for text, kinds in messages.items()))


def _raised(name: str, env_kind: str, factory: Any, error: Exception) -> CheckResult:
    """Return the result of a check in which the agent raised."""
    text = one_line(error)
    location = _location(factory, error)
    at = f" at {location}" if location else ""
    return check_failed(
        name,
        f"{env_kind}: raised {type(error).__name__}: {text}{at}",
        "a run would stop there",
        "correct that line" if location else "see the message",
    )


def _location(factory: Any, error: Exception) -> str:
    """Return the innermost line in the folder of the agent's module."""
    module = inspect.getmodule(factory)
    folder = os.path.dirname(os.path.abspath(getattr(module, "__file__", "") or ""))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if folder and os.path.abspath(frame.filename).startswith(folder + os.sep):
            return f"{relative_path(frame.filename)}:{frame.lineno} ({frame.line})"
    return ""


def _global_state() -> dict[str, Any]:
    return {
        "the random generator of Python": random.getstate(),
        "the global random generator of NumPy": np.random.get_state(),  # noqa: NPY002 - read, not used
        "the global random generator of PyTorch": torch.get_rng_state().numpy(),
        "the default dtype of PyTorch": torch.get_default_dtype(),
        "the number of threads of PyTorch": torch.get_num_threads(),
        "the deterministic mode of PyTorch": torch.are_deterministic_algorithms_enabled(),
        "the error handling of NumPy": np.geterr(),
        "the working folder": os.getcwd(),
    }


def _compare_global_state(before: dict[str, Any], after: dict[str, Any]) -> CheckResult:
    changed = [name for name, value in before.items() if not _equal(value, after[name])]
    if not changed:
        return check_passed("global state", "random generators and settings of the process are unchanged")
    return check_failed(
        "global state",
        f"the agent changed {', '.join(changed)}",
        "agents, envs and the world model of a run share it, so that results depend on their order",
        "use generators of the agent: np.random.default_rng(seed), torch.Generator().manual_seed(seed); "
        "around libraries that use global ones, torch.random.fork_rng",
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a == b
