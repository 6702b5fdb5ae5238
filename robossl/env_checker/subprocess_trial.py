"""A trial: a small program run in a process of its own, so that a hang or a crash ends only that process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to: `answer` where it worked, `reason` where it did not."""

    answer: dict[str, Any] | None
    reason: str = ""


def attempt(module: str, words: list[str], seconds: float, environment: Mapping[str, str]) -> TrialResult:
    """Run `module` in a fresh interpreter; its last line on stdout is its answer in JSON."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={**environment, "PYTHONPATH": python_path()},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return TrialResult(None, f"it had not answered after {seconds:g} s and was stopped")
    if done.returncode < 0:
        return TrialResult(None, f"its process was ended by {signal_name(-done.returncode)}")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode == 0 and lines:
        try:
            return TrialResult(json.loads(lines[-1]))
        except json.JSONDecodeError:
            return TrialResult(None, f"it answered {lines[-1]!r}")
    return TrialResult(
        None, last_error(done.stderr) or f"it ended with exit code {done.returncode} and no word"
    )


def last_error(text: str) -> str:
    """The line of a traceback that says what happened; not what comes while the interpreter ends."""
    lines = [line.strip() for line in text.partition("Exception ignored")[0].splitlines() if line.strip()]
    return lines[-1] if lines else ""


def python_path() -> str:
    """Where this process finds its modules, for the environment of another one."""
    return os.pathsep.join(os.path.abspath(part) for part in sys.path)


def signal_name(number: int) -> str:
    """`SIGSEGV (Segmentation fault)` for 11."""
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"
