"""Tries the probes in other processes: one that hangs or crashes is ended, and the rest go on in the next."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any

from gymnasium.envs.registration import EnvSpec

from robossl.core.traceback_utils import is_library_file, relative_path
from robossl.env_checker import spec_json
from robossl.env_checker.check_order import PROBES
from robossl.env_checker.check_result import CheckResult, check_failed
from robossl.env_checker.subprocess_trial import last_error, python_path, signal_name

_START = 60.0  # [s] a process may take to start and import
_GRACE = 4.0  # [s] without a sign of life, beyond the limit of a call
_STARTING = "starting its process"
_MODULE = "robossl.env_checker.worker"

Say = Callable[[CheckResult], None]


class EnvNotImportable(Exception):
    """The other process does not have this env."""


def run_in_subprocess(spec: EnvSpec, settings: dict[str, Any], seconds: float, say: Say) -> None:
    """Try all probes in fresh processes. `NotPortable` or `Absent` where they cannot make the env."""
    request: dict[str, Any] = {
        "id": spec.id,
        "spec": spec_json.from_spec(spec),
        "settings": spec_json.pack(settings),
        "seconds": seconds,
        "imported": str(spec.entry_point).partition(":")[0] in sys.modules,
    }
    rest, failed_names = [probe.name for probe in PROBES], []

    def tell(finding: CheckResult) -> None:
        if finding.ok is False:
            failed_names.append(finding.name)
        say(finding)

    while rest:
        reached = _one(request | {"probes": rest, "failed": failed_names}, tell)
        rest = rest[rest.index(reached) + 1 :] if reached else []


def _one(request: dict[str, Any], tell: Say) -> str | None:
    """One process; the probe it did not survive, None where it came to the end."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; listening tells why
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.close()
            return _listen(process, process.stdout, request, tell, errors)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _listen(
    process: subprocess.Popen[str], stdout: IO[str], request: dict[str, Any], tell: Say, errors: IO[str]
) -> str | None:
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(stdout, events), daemon=True).start()
    probe, call = request["probes"][0], _STARTING
    patience = _START
    while True:
        try:
            event = events.get(timeout=patience)
        except queue.Empty:
            tell(_mute(probe, call, patience))
            return probe
        if event is None:
            process.wait()
            tell(_dead(probe, call, process.returncode, errors))
            return probe if call != _STARTING else None  # the next process would not start either
        if "absent" in event:
            raise EnvNotImportable(request["id"])
        if "done" in event:
            return None
        if "hung" in event:
            tell(CheckResult(**event["hung"]))
            return probe
        if "finding" in event:
            tell(CheckResult(**event["finding"]))
        probe, call = event.get("probe", probe), event.get("call", call)
        if "alive" not in event:  # that comes from another thread, as long as it can run
            patience = event.get("seconds", request["seconds"]) + _GRACE


def _read(stdout: IO[str], events: queue.Queue[dict[str, Any] | None]) -> None:
    """Every event of the process; None when there will be no more."""
    try:
        for line in stdout:
            events.put(json.loads(line))
    except ValueError:  # the file was closed, or a process died in the middle of a line
        pass
    events.put(None)


def _mute(probe: str, call: str, seconds: float) -> CheckResult:
    return check_failed(
        probe,
        f"{call}: no sign of life for {seconds:g} s, not even from other threads",
        "it holds the interpreter, so that nothing else can run, and a run would wait for ever",
        "release the GIL in the library that waits, and give the wait a limit",
    )


def _dead(probe: str, call: str, code: int, errors: IO[str]) -> CheckResult:
    """The process ended in the middle of a call."""
    errors.seek(0)
    text = errors.read()
    how = f"ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    line, said = _crash_line(text), last_error(text)
    where = f", at {line}" if line else f"; it said: {said}" if said else ""
    if call == _STARTING:
        words = f"the process of the check was {how}{where}"
        return check_failed(
            probe, words, "nothing could be tried", "see robossl doctor; import robossl has to work"
        )
    return check_failed(
        probe,
        f"{call}: the process was {how}{where}",
        "a run would be gone, with everything since its last checkpoint",
        "look at that line, or at the library it calls; sys.exit and os._exit have no place in an env",
    )


def _crash_line(text: str) -> str:
    """Where Python stood when the process crashed, as faulthandler wrote it: `my_env.py:31`."""
    thread = text.partition("Current thread")[2].partition("\nThread")[0]  # innermost line first
    for name, line in re.findall(r'File "(.+)", line (\d+)', thread):
        if not is_library_file(name):
            return f"{relative_path(name)}:{line}"
    return ""
