"""Trials: small programs in subprocesses, so that a hang or a crash ends only the subprocess."""

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
    """Result of a trial: its `output`, or the `reason` why there is none."""

    output: dict[str, Any] | None
    reason: str = ""


def run_trial(
    module: str, arguments: list[str], seconds: float, environment: Mapping[str, str]
) -> TrialResult:
    """Run a module in a new interpreter; the last line of its stdout is its output in JSON.

    Args:
        module: As for `python -m`.
        arguments: Of the command line.
        seconds: Time limit [s].
        environment: Environment variables.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={**environment, "PYTHONPATH": python_path()},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return TrialResult(None, f"it printed no result within {seconds:g} s and was stopped")
    if process.returncode < 0:
        return TrialResult(None, f"its process was ended by {signal_name(-process.returncode)}")
    lines = [line.strip() for line in process.stdout.splitlines() if line.strip()]
    if process.returncode == 0 and lines:
        try:
            return TrialResult(json.loads(lines[-1]))
        except json.JSONDecodeError:
            return TrialResult(None, f"expected JSON on the last line of its stdout, got {lines[-1]!r}")
    return TrialResult(
        None, last_error(process.stderr) or f"it ended with exit code {process.returncode} without a message"
    )


def last_error(text: str) -> str:
    """Return the last line of a traceback, without errors of the interpreter's shutdown."""
    lines = [line.strip() for line in text.partition("Exception ignored")[0].splitlines() if line.strip()]
    return lines[-1] if lines else ""


def python_path() -> str:
    """Return the import path of this process as PYTHONPATH for a subprocess."""
    return os.pathsep.join(os.path.abspath(part) for part in sys.path)


def signal_name(number: int) -> str:
    """Return `SIGSEGV (Segmentation fault)` for 11."""
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"
