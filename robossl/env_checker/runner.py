"""The checks in order, and the loop that runs them: a check that raises or hangs becomes a failed result."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gymnasium.envs.registration import EnvSpec

from robossl import registry
from robossl.core.env_ids import EnvName
from robossl.env_checker import (
    api_checks,
    determinism,
    gymnasium_checker,
    observation_checks,
    reward_checks,
    robot_checks,
    space_checks,
    vector_env_checks,
)
from robossl.env_checker.check_result import SKIPPED, CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import Call, CallMonitor, EnvCallError, EnvUnderTest, current_location
from robossl.env_checker.random_rollout import episode_end, random_rollout

_NUM_STEPS = 250  # of the random rollout
_POLL = 0.05  # [s]

OnResult = Callable[[CheckResult], None]


@dataclass(frozen=True)
class Check:
    """One check; each constructs a new env."""

    name: str  # also the name of its result if it raises or hangs
    run: Callable[[EnvUnderTest], Iterator[CheckResult]]
    needs: tuple[str, ...] = ()  # names of results; if one of them failed, the check is skipped


def check_random_rollout(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Step the env with random actions and check everything it returned."""
    env = target.make()
    rollout = random_rollout(target, env, _NUM_STEPS, seed=0, seconds=target.monitor.seconds)
    if rollout.error is not None:
        after = f"after {rollout.records[-1].name}: " if rollout.records else ""
        yield check_failed(
            "random rollout",
            f"{after}{rollout.error}",
            "a run stops there",
            "correct that line; where an episode cannot continue, end it: terminated = True",
        )
    else:
        episodes = len({record.episode for record in rollout.records})
        yield check_passed("random rollout", f"{len(rollout.steps)} random steps in {episodes} episodes")
    if rollout.steps:
        yield from observation_checks.check_observations(env.observation_space, rollout)
        yield reward_checks.check_unusable_numbers(
            env.observation_space, rollout, EnvName.parse(target.env_name).observe
        )
        limit = target.spec.max_episode_steps
        first_end = None if rollout.error or limit or rollout.endings() else episode_end(target)
        yield from reward_checks.check_steps(rollout, limit, first_end)
        if registry.is_native_batch(target.env_name):
            yield reward_checks.check_physics(rollout)
    if rollout.error is None:
        target.close(env)


_BASIC = ("construction", "action space", "observation space", "reset", "step")
_ROLLOUT = (*_BASIC, "random rollout")
CHECKS = (
    Check("construction", api_checks.check_construction),
    Check("action space", space_checks.check_action_space, ("construction",)),
    Check("observation space", space_checks.check_observation_space, ("construction",)),
    Check("reset", api_checks.check_reset, ("construction",)),
    Check("step", api_checks.check_step, ("construction", "reset")),
    Check("random rollout", check_random_rollout, _BASIC),
    Check("deterministic given seed", determinism.check_seeds, _ROLLOUT),
    Check("gymnasium check_env", gymnasium_checker.check_gymnasium, ("construction", "reset", "step")),
    Check("robot", robot_checks.check_robot, ("construction", "reset", "step")),
    Check("rendering", api_checks.check_rendering, ("construction", "reset")),
    Check("compute_reward", reward_checks.check_compute_reward, (*_ROLLOUT, "observation structure")),
    Check("gymnasium vector env", vector_env_checks.check_autoreset_modes, _ROLLOUT),
    Check("robossl vector env", vector_env_checks.check_robossl_envs, _ROLLOUT),
    Check(
        "batch matches single env",
        vector_env_checks.check_batch_matches_single,
        (*_ROLLOUT, "robossl vector env"),
    ),
)


def run_checks(
    checks: list[Check],
    target: EnvUnderTest,
    failed_names: set[str],
    on_result: OnResult,
    on_check: Callable[[str], None],
) -> None:
    """Run checks one after another in this thread.

    Args:
        checks: In order.
        target: The env under test.
        failed_names: Names of failed results, including those of checks that ran before; extended.
        on_result: Called with each result.
        on_check: Called with the name of each check before it runs.
    """

    def add(result: CheckResult) -> None:
        if result.ok is False:
            failed_names.add(result.name)
        on_result(result)

    for check in checks:
        on_check(check.name)
        failed_needs = [name for name in check.needs if name in failed_names]
        if failed_needs:
            add(check_info(check.name, f"{SKIPPED}{failed_needs[0]!r} failed"))
            continue
        try:
            for result in check.run(target):
                add(result)
        except EnvCallError as error:
            add(exception_result(check.name, error))
        except Exception as error:  # noqa: BLE001 - an env may return anything
            message = (
                f"the values of the env could not be checked: {EnvCallError('the check', error).message}"
            )
            add(check_failed(check.name, message, "their type is unexpected", "see the other results"))


def exception_result(name: str, error: EnvCallError) -> CheckResult:
    """Return the result of a check whose call into the env raised."""
    return check_failed(name, str(error), "nothing that needs this call works", _exception_fix(name, error))


def _exception_fix(name: str, error: EnvCallError) -> str:
    if name == "construction" and "unexpected keyword argument 'render_mode'" in error.message:
        return "def __init__(self, render_mode=None):"
    if error.install:
        return error.install
    if name == "construction" and "No module named" in error.message:
        return "install the missing package, or correct entry_point=... in the registration"
    if error.from_robossl:
        return "follow the message and check again"
    return "correct that line" if error.location else "correct the line that raises"


def timeout_result(name: str, call: Call, location: str) -> CheckResult:
    """Return the result of a check whose call into the env exceeded its time limit."""
    at = f"; it was at {location}" if location else ""
    return check_failed(
        name,
        f"{call.name} did not return within {call.seconds:g} s{at}",
        "a run would wait there forever",
        "limit the time of the wait; when it is exceeded, end the episode or raise",
    )


def run_in_thread(
    spec: EnvSpec, settings: dict[str, Any], seconds: float, on_result: OnResult, env_name: str | None = None
) -> None:
    """Run all checks in this process, in threads; a call that hangs is left in its thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `check_gymnasium` reports them
        _run_in_thread(spec, settings, seconds, on_result, env_name)


def _run_in_thread(
    spec: EnvSpec, settings: dict[str, Any], seconds: float, on_result: OnResult, env_name: str | None
) -> None:
    failed_names: set[str] = set()
    remaining = list(CHECKS)
    while remaining:
        monitor = CallMonitor(seconds)
        started_checks = [remaining[0].name]  # the last one is running
        target = EnvUnderTest(spec, settings, monitor, env_name)
        arguments = (remaining, target, failed_names, on_result, started_checks.append)
        thread = threading.Thread(target=run_checks, args=arguments, daemon=True)
        thread.start()
        call = _wait(thread, monitor)
        if call is None:
            return
        result = timeout_result(started_checks[-1], call, current_location(thread.ident or 0))
        monitor.abandoned = True
        failed_names.add(result.name)
        on_result(result)
        remaining = remaining[[check.name for check in remaining].index(started_checks[-1]) + 1 :]


def _wait(thread: threading.Thread, monitor: CallMonitor) -> Call | None:
    """Wait for a thread to end; return the call in it that exceeds its time limit."""
    while thread.is_alive():
        call = monitor.overdue()
        if call is not None:
            return call
        time.sleep(_POLL)
    return None
