"""Result of one check: what was observed, why it matters, and what to change."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SKIPPED = "skipped: "  # `message` of a check begins so if a check before it failed
_WIDTH = 110  # [characters]
_INDENT = " " * 36
_STATUS = {True: "ok  ", False: "FAIL", None: "--  "}


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    name: str
    ok: bool | None  # None: not applicable, skipped, or information only
    message: str  # what was tried and what was observed
    reason: str = ""  # why it matters
    fix: str = ""  # what to change, with a line of code

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


def check_passed(name: str, message: str) -> CheckResult:
    """Return the result of a check that passed."""
    return CheckResult(name, True, message)


def check_failed(name: str, message: str, reason: str, fix: str) -> CheckResult:
    """Return the result of a check that failed: something has to be changed."""
    return CheckResult(name, False, message, reason, fix)


def check_info(name: str, message: str, reason: str = "", fix: str = "") -> CheckResult:
    """Return information; nothing is wrong."""
    return CheckResult(name, None, message, reason, fix)


def any_failed(results: Iterable[CheckResult]) -> bool:
    """Return whether a check failed: exit code 1."""
    return any(result.ok is False for result in results)


def format_result(result: CheckResult) -> list[str]:
    """Return the lines of one result for a terminal."""
    lines = _wrap(f"{_STATUS[result.ok]}  {result.name:<28}  ", result.message)
    for label, text in (("reason", result.reason), ("fix", result.fix)):
        if text:
            first, *more = text.splitlines()
            lines += _wrap(f"{label:>34}  ", first)
            lines += [line for part in more for line in _wrap(_INDENT, part)]
    return lines


def format_count(results: Iterable[CheckResult]) -> str:
    """Return "2 problems", "1 problem" or "no problems found"."""
    count = sum(result.ok is False for result in results)
    return f"{count} problem{'s' if count > 1 else ''}" if count else "no problems found"


def _wrap(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text.replace(os.getcwd() + os.sep, ""),  # paths relative to the working folder
        _WIDTH,
        initial_indent=start,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
