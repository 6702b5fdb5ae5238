"""Worker process of the checks: reads one request from stdin and writes events to stdout, one JSON object a line.

Events: {"check": name}, {"call": name, "seconds": s}, {"result": {...}}, {"timeout": {...}}, {"heartbeat": true},
{"not_importable": true}, {"done": true}. Output of the env goes to stderr.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import threading
import warnings
from typing import Any, TextIO

import gymnasium

from robossl.core import system_info
from robossl.core.env_ids import EnvName
from robossl.env_checker import spec_json
from robossl.env_checker.env_under_test import CallMonitor, EnvUnderTest, current_location
from robossl.env_checker.runner import CHECKS, run_checks, timeout_result

_POLL = 0.1  # [s]
_HEARTBEAT = 5  # polls between two heartbeats


class EventWriter:
    """Writes events to the parent process, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, **event: Any) -> None:
        """Write one event."""
        with self._lock:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


def _redirect_stdout() -> EventWriter:
    """Return a writer to the stdout of this process; from now on everything that prints, prints to stderr."""
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return EventWriter(stdout)


def main() -> None:
    """Run the checks of one request."""
    writer = _redirect_stdout()
    request = json.loads(sys.stdin.readline())
    spec = _find_spec(request)
    if spec is None:
        writer.write(not_importable=True)
        return
    monitor = CallMonitor(request["seconds"], lambda name, seconds: writer.write(call=name, seconds=seconds))
    started_checks = [request["checks"][0]]  # the last one is running

    def on_check(name: str) -> None:
        started_checks.append(name)
        writer.write(check=name)

    arguments = (writer, monitor, started_checks, threading.get_ident())
    threading.Thread(target=_supervise, args=arguments, daemon=True).start()
    checks = [check for check in CHECKS if check.name in request["checks"]]
    target = EnvUnderTest(spec, spec_json.unpack(request["settings"]), monitor, request["env_name"])
    warnings.simplefilter("ignore")  # `check_gymnasium` reports them
    run_checks(checks, target, set(request["failed"]), lambda r: writer.write(result=r.to_json()), on_check)
    writer.write(done=True)
    sys.stderr.flush()
    os._exit(0)  # threads, windows and drivers that an env leaves behind must not keep the process alive


def _find_spec(request: dict[str, Any]) -> gymnasium.envs.registration.EnvSpec | None:
    """Return the spec of the request, or the one that `import robossl` registers; None if there is neither."""
    backend = system_info.render_backend()
    if system_info.is_headless() and backend != "none":
        os.environ.setdefault("MUJOCO_GL", backend)
    importlib.import_module("robossl")  # registers the envs
    if request["spec"] is not None:
        spec = spec_json.to_spec(request["spec"])
        if request["imported"] and not _can_import(str(spec.entry_point).partition(":")[0]):
            return None  # only the parent process has this module
        gymnasium.registry[spec.id] = spec
    for module in EnvName.parse(request["env_name"]).modules:  # the user named them
        importlib.import_module(module)
    return gymnasium.registry.get(request["id"])


def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _supervise(writer: EventWriter, monitor: CallMonitor, started_checks: list[str], thread: int) -> None:
    """Write heartbeats; report a call that exceeds its time limit, and end the process."""
    timer = threading.Event()
    polls = 0
    while True:
        timer.wait(_POLL)
        polls += 1
        call = monitor.overdue()
        if call is not None:
            writer.write(timeout=timeout_result(started_checks[-1], call, current_location(thread)).to_json())
            os._exit(0)
        if polls % _HEARTBEAT == 0:
            writer.write(heartbeat=True)


if __name__ == "__main__":
    main()
