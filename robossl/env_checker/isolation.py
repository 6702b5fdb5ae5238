"""Checks in subprocesses: if one hangs or crashes, its process ends and the next process runs the others."""

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
from typing import IO, Any

from gymnasium.envs.registration import EnvSpec

from robossl.core.errors import UsageError
from robossl.core.traceback_utils import is_library_file, relative_path
from robossl.env_checker import spec_json
from robossl.env_checker.check_result import CheckResult, check_failed
from robossl.env_checker.runner import CHECKS, OnResult
from robossl.env_checker.subprocess_trial import last_error, python_path, signal_name

_START_SECONDS = 60.0  # [s] limit for the start and the imports of a process
_EXTRA_SECONDS = 4.0  # [s] without any event, beyond the limit of a call
_STARTING = "the start of its process"
_WORKER = "robossl.env_checker.worker"
_IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1])"


class EnvNotImportable(Exception):
    """The subprocess cannot import the env."""


def check_package_imports(env_id: str, seconds: float) -> None:
    """Import the package of `package:id` in a subprocess.

    An exception of the import is not reported here; the import in this process raises it again.

    Raises:
        UsageError: If the import takes longer than `seconds` or crashes.
    """
    package, colon, _ = env_id.partition(":")
    if not colon or package in sys.modules:
        return
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", _IMPORT, package],
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"importing package {package!r} for env {env_id} did not finish within {seconds:g} s; "
            "a module should only define things: move what waits into the env"
        ) from None
    if process.returncode < 0:
        raise UsageError(
            f"importing package {package!r} for env {env_id} ended its process by {signal_name(-process.returncode)}"
        )


def run_in_subprocess(
    spec: EnvSpec, settings: dict[str, Any], seconds: float, on_result: OnResult, env_name: str | None = None
) -> None:
    """Run all checks in subprocesses; `env_name` has the wrappers and options of the env.

    Raises:
        NotSerializable: If the spec or the settings cannot be sent to another process.
        EnvNotImportable: If the subprocess cannot import the env.
    """
    request: dict[str, Any] = {
        "id": spec.id,
        "env_name": env_name or spec.id,
        "spec": spec_json.from_spec(spec),
        "settings": spec_json.pack(settings),
        "seconds": seconds,
        "imported": str(spec.entry_point).partition(":")[0] in sys.modules,
    }
    remaining, failed_names = [check.name for check in CHECKS], []

    def add(result: CheckResult) -> None:
        if result.ok is False:
            failed_names.append(result.name)
        on_result(result)

    while remaining:
        stopped_at = _run_process(request | {"checks": remaining, "failed": failed_names}, add)
        remaining = remaining[remaining.index(stopped_at) + 1 :] if stopped_at else []


def _run_process(request: dict[str, Any], on_result: OnResult) -> str | None:
    """Run one process; return the check that ended it, or None if all checks ran."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", _WORKER],
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
            with contextlib.suppress(BrokenPipeError):  # it ended at once; _read_events reports why
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.close()
            return _read_events(process, process.stdout, request, on_result, errors)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _read_events(
    process: subprocess.Popen[str],
    stdout: IO[str],
    request: dict[str, Any],
    on_result: OnResult,
    errors: IO[str],
) -> str | None:
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_queue_events, args=(stdout, events), daemon=True).start()
    check, call = request["checks"][0], _STARTING
    timeout = _START_SECONDS
    while True:
        try:
            event = events.get(timeout=timeout)
        except queue.Empty:
            on_result(_blocked_result(check, call, timeout))
            return check
        if event is None:
            process.wait()
            on_result(_crash_result(check, call, process.returncode, errors))
            return check if call != _STARTING else None  # another process would not start either
        if "not_importable" in event:
            raise EnvNotImportable(request["id"])
        if "done" in event:
            return None
        if "timeout" in event:
            on_result(CheckResult(**event["timeout"]))
            return check
        if "result" in event:
            on_result(CheckResult(**event["result"]))
        check, call = event.get("check", check), event.get("call", call)
        if "heartbeat" not in event:  # sent by another thread, as long as that thread can run
            timeout = event.get("seconds", request["seconds"]) + _EXTRA_SECONDS


def _queue_events(stdout: IO[str], events: queue.Queue[dict[str, Any] | None]) -> None:
    """Queue every event of the process, then None."""
    try:
        for line in stdout:
            events.put(json.loads(line))
    except ValueError:  # the file was closed, or the process ended in the middle of a line
        pass
    events.put(None)


def _blocked_result(check: str, call: str, seconds: float) -> CheckResult:
    return check_failed(
        check,
        f"{call}: no thread of the process ran for {seconds:g} s",
        "the call holds the GIL, so that nothing else can run, and a run would wait forever",
        "release the GIL in the library that waits, and limit the time of the wait",
    )


def _crash_result(check: str, call: str, code: int, errors: IO[str]) -> CheckResult:
    """Return the result of a check whose process ended during a call."""
    errors.seek(0)
    text = errors.read()
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    line, error = _crash_line(text), last_error(text)
    where = f", at {line}" if line else f"; error: {error}" if error else ""
    if call == _STARTING:
        message = f"the process of the check {how}{where}"
        return check_failed(
            check, message, "nothing could be checked", "see robossl doctor; import robossl must work"
        )
    return check_failed(
        check,
        f"{call}: the process {how}{where}",
        "a run would lose everything since its last checkpoint",
        "correct that line, or the library it calls; an env must not call sys.exit or os._exit",
    )


def _crash_line(text: str) -> str:
    """Return the line at which the process crashed, from faulthandler's output: `my_env.py:31`."""
    thread = text.partition("Current thread")[2].partition("\nThread")[0]  # innermost line first
    for name, line in re.findall(r'File "(.+)", line (\d+)', thread):
        if not is_library_file(name):
            return f"{relative_path(name)}:{line}"
    return ""
