"""What somebody with their own environment wants to know: what is wrong, why, and what to change."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import EnvSpec

from robossl import registry
from robossl.core.errors import UsageError
from robossl.env_checker import import_probe
from robossl.env_checker.check_result import CheckResult, check_info
from robossl.env_checker.isolation import EnvNotImportable, run_in_subprocess
from robossl.env_checker.runner import here
from robossl.env_checker.spec_json import NotPortable
from robossl.env_checker.summary import verdict

__all__ = ["CheckResult", "check", "describe", "failed", "to_json"]

_PATIENCE = 3  # times the limit of a call that an import may take
_WIDTH = 110
_MARGIN = " " * 36
_MARKS = {True: "ok  ", False: "FAIL", None: "--  "}
_LEFT_BEHIND = Path("MUJOCO_LOG.TXT")  # MuJoCo writes its warnings there, into the working folder


def check(
    env_id: str,
    seconds_limit: float = 10.0,
    say: Callable[[CheckResult], None] | None = None,
    **settings: Any,
) -> list[CheckResult]:
    """Try everything on one env, an id or an MJCF file; `settings` go to `gymnasium.make`. `say` hears each finding.

    The probes run in a process of their own, where a call that takes longer than `seconds_limit` is ended and
    the rest goes on. `RequestError` for an id that does not exist, with the near ones.
    """
    if seconds_limit <= 0:
        raise UsageError(f"seconds_limit is {seconds_limit}; expected more than 0")
    import_probe.comes_back(env_id, _PATIENCE * seconds_limit)
    spec, settings = registry.env_spec(env_id), settings | registry.env_kwargs(env_id)
    findings: list[CheckResult] = []

    def tell(finding: CheckResult) -> None:
        findings.append(finding)
        if say is not None:
            say(finding)

    was_there = _LEFT_BEHIND.exists()
    try:
        _try(spec, settings, seconds_limit, tell)
    finally:
        if not was_there:
            _LEFT_BEHIND.unlink(missing_ok=True)
    for finding in verdict(findings):
        tell(finding)
    return findings


def _try(
    spec: EnvSpec, settings: dict[str, Any], seconds: float, tell: Callable[[CheckResult], None]
) -> None:
    try:
        run_in_subprocess(spec, settings, seconds, tell)
    except (NotPortable, EnvNotImportable) as reason:
        words = str(reason) if isinstance(reason, NotPortable) else "only this process knows the env"
        tell(
            check_info(
                "process",
                f"checked in this process: {words}",
                "a call that hangs is left behind in its thread, and a crash would end this process",
                'register(..., entry_point="my_package.my_module:MyEnv")',
            )
        )
        here(spec, settings, seconds, tell)


def failed(findings: list[CheckResult]) -> bool:
    """Something has to be changed: exit code 1."""
    return any(finding.ok is False for finding in findings)


def to_json(findings: list[CheckResult]) -> list[dict[str, Any]]:
    """Plain values."""
    return [finding.to_json() for finding in findings]


def describe(findings: list[CheckResult]) -> str:
    """Findings for a terminal: what was tried, then what robossl can do with the env."""
    tried = [f for f in findings if not f.name.startswith(("robossl ", "report: "))]
    verbs = [f for f in findings if f.name.startswith("robossl ")]
    rows = [f for f in findings if f.name.startswith("report: ")]
    lines = [line for finding in tried for line in _lines(finding)]
    lines += ["", *_verbs(verbs)]
    if rows:
        lines.append("its report will lack")
        lines += [f"      {row.name.removeprefix('report: ')}: {row.reason}" for row in rows]
    wrong = sum(finding.ok is False for finding in tried)
    return "\n".join([*lines, "", f"{wrong} to mend" if wrong else "nothing to mend"])


def _verbs(verbs: list[CheckResult]) -> list[str]:
    works = [f.name.removeprefix("robossl ") for f in verbs if f.ok]
    groups: dict[str, list[str]] = {}  # what they say, and the verbs that say it
    for finding in verbs:
        if not finding.ok:
            words = f"{finding.found}: {finding.reason}" if finding.reason else finding.found
            groups.setdefault(words, []).append(finding.name.removeprefix("robossl "))
    lines = [f"      {', '.join(names)}: {words}" for words, names in groups.items()]
    return [f"robossl can: {', '.join(works) or 'nothing yet'}", *lines]


def _lines(finding: CheckResult) -> list[str]:
    lines = _wrapped(f"{_MARKS[finding.ok]}  {finding.name:<28}  ", finding.found)
    for label, text in (("why", finding.reason), ("mend", finding.mend)):
        if text:
            first, *more = text.splitlines()
            lines += _wrapped(f"{label:>34}  ", first)
            lines += [line for part in more for line in _wrapped(_MARGIN, part)]
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        _relative(text),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=_MARGIN,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _relative(text: str) -> str:
    """Paths below the working folder without it."""
    return text.replace(os.getcwd() + os.sep, "")
