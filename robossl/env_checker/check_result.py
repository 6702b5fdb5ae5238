"""A finding: what was tried on an environment, what came back, why it matters, what to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

NOT_TRIED = "not tried: "  # how `found` begins where something else has to work first


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at."""

    name: str
    ok: bool | None  # None: it does not apply, was not tried, or is only worth knowing
    found: str  # what was tried and what came back
    reason: str = ""  # why it matters
    mend: str = ""  # what to change, with a line of code

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def check_passed(name: str, found: str) -> CheckResult:
    """All is as it should be."""
    return CheckResult(name, True, found)


def check_failed(name: str, found: str, reason: str, mend: str) -> CheckResult:
    """Something has to be changed."""
    return CheckResult(name, False, found, reason, mend)


def check_info(name: str, found: str, reason: str = "", mend: str = "") -> CheckResult:
    """Worth knowing; nothing is broken by it."""
    return CheckResult(name, None, found, reason, mend)
