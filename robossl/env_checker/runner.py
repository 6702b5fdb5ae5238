"""Tries the probes one after another: one that raises or hangs gets its finding, and the next one comes."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from gymnasium.envs.registration import EnvSpec

from robossl.env_checker.call_monitor import Call, CallMonitor, EnvCallError, current_location
from robossl.env_checker.check_order import PROBES, Probe
from robossl.env_checker.check_result import NOT_TRIED, CheckResult, check_failed, check_info
from robossl.env_checker.env_under_test import EnvUnderTest

Say = Callable[[CheckResult], None]
_LOOK = 0.05  # [s] between two looks at the clock


def attempt(
    probes: list[Probe], case: EnvUnderTest, failed_names: set[str], say: Say, begins: Callable[[str], None]
) -> None:
    """Try `probes` in this thread. `failed` holds the names of bad findings, and gains those found here."""

    def tell(finding: CheckResult) -> None:
        if finding.ok is False:
            failed_names.add(finding.name)
        say(finding)

    for probe in probes:
        begins(probe.name)
        missing = [name for name in probe.needs if name in failed_names]
        if missing:
            tell(check_info(probe.name, f"{NOT_TRIED}{missing[0]!r} comes first"))
            continue
        try:
            for finding in probe.run(case):
                tell(finding)
        except EnvCallError as fault:
            tell(raised(probe.name, fault))
        except Exception as error:  # noqa: BLE001 - an env may return anything; what no probe foresaw is still told
            words = f"what the env gave could not be looked at: {EnvCallError('the probe', error).words}"
            tell(
                check_failed(
                    probe.name, words, "it is of a form that nothing here knows", "see the other findings"
                )
            )


def raised(name: str, fault: EnvCallError) -> CheckResult:
    """The finding of a call that raised."""
    return check_failed(name, str(fault), "nothing that needs this can work", _mend(name, fault))


def _mend(name: str, fault: EnvCallError) -> str:
    if name == "made" and "unexpected keyword argument 'render_mode'" in fault.words:
        return "def __init__(self, render_mode=None):"
    if fault.install:
        return fault.install
    if name == "made" and "No module named" in fault.words:
        return "install what it needs, or correct entry_point=... where it is registered"
    if fault.ours:
        return "do what it says, and check again"
    return "look at that line" if fault.where else "look at where it is raised"


def hung(name: str, call: Call, where: str) -> CheckResult:
    """The finding of a call that did not come back."""
    at = f"; it stood at {where}" if where else ""
    return check_failed(
        name,
        f"{call.name} had not come back after {call.seconds:g} s{at}",
        "a run would wait there for ever",
        "give what it waits for a limit, and end the episode or raise when it is over",
    )


def here(spec: EnvSpec, settings: dict[str, Any], seconds: float, say: Say) -> None:
    """Try all probes in this process. A call that hangs is left behind in its thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one probe hears them and explains them
        _here(spec, settings, seconds, say)


def _here(spec: EnvSpec, settings: dict[str, Any], seconds: float, say: Say) -> None:
    failed_names: set[str] = set()
    rest = list(PROBES)
    while rest:
        watch = CallMonitor(seconds)
        reached = [rest[0].name]
        thread = threading.Thread(
            target=attempt,
            args=(rest, EnvUnderTest(spec, settings, watch), failed_names, say, reached.append),
            daemon=True,
        )
        thread.start()
        late = _follow(thread, watch)
        if late is None:
            return
        finding = hung(reached[-1], late, current_location(thread.ident or 0))
        watch.abandoned = True
        failed_names.add(finding.name)
        say(finding)
        rest = rest[[probe.name for probe in rest].index(reached[-1]) + 1 :]


def _follow(thread: threading.Thread, watch: CallMonitor) -> Call | None:
    """Wait for the thread; the call in it that takes too long, None where it ended."""
    while thread.is_alive():
        late = watch.overdue()
        if late is not None:
            return late
        time.sleep(_LOOK)
    return None
