"""The process that tries the probes: a request in JSON on stdin, events in JSON on stdout, one a line.

Events: {"probe": name}, {"call": name, "seconds": s}, {"finding": {...}}, {"hung": {...}}, {"alive": true},
{"absent": true}, {"done": true}. What the env itself prints goes to stderr.
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
from robossl.env_checker import spec_json
from robossl.env_checker.call_monitor import CallMonitor, current_location
from robossl.env_checker.check_order import PROBES
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.runner import attempt, hung

_LOOK = 0.1  # [s] between two looks at the clock
_BEAT = 5  # looks between two signs of life


class Channel:
    """Events to the parent process, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def say(self, **event: Any) -> None:
        """One event."""
        with self._lock:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


def _private() -> Channel:
    """The stdout of this process for events only; whatever prints, prints to stderr from now on."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Channel(channel)


def main() -> None:
    """Carry out one request."""
    channel = _private()
    request = json.loads(sys.stdin.readline())
    spec = _spec(request)
    if spec is None:
        channel.say(absent=True)
        return
    watch = CallMonitor(request["seconds"], lambda name, seconds: channel.say(call=name, seconds=seconds))
    reached = [request["probes"][0]]

    def begins(probe: str) -> None:
        reached.append(probe)
        channel.say(probe=probe)

    threading.Thread(
        target=_guard, args=(channel, watch, reached, threading.get_ident()), daemon=True
    ).start()
    probes = [probe for probe in PROBES if probe.name in request["probes"]]
    case = EnvUnderTest(spec, spec_json.unpack(request["settings"]), watch)
    warnings.simplefilter("ignore")  # one probe hears them and explains them
    attempt(probes, case, set(request["failed"]), lambda f: channel.say(finding=f.to_json()), begins)
    channel.say(done=True)
    sys.stderr.flush()
    os._exit(0)  # what an env leaves behind (threads, windows, drivers) must not hold the process


def _spec(request: dict[str, Any]) -> gymnasium.envs.registration.EnvSpec | None:
    """The env's spec as it was sent, else as it is known after importing robossl; None where it is not."""
    backend = system_info.render_backend()
    if system_info.headless() and backend != "none":
        os.environ.setdefault("MUJOCO_GL", backend)
    importlib.import_module("robossl")  # registers ours, and those of plug-ins
    if request["spec"] is not None:
        spec = spec_json.to_spec(request["spec"])
        if request["imported"] and not _findable(str(spec.entry_point).partition(":")[0]):
            return None  # a module that only the parent process has
        gymnasium.registry[spec.id] = spec
    return gymnasium.registry.get(request["id"])


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _guard(channel: Channel, watch: CallMonitor, reached: list[str], thread: int) -> None:
    """Say which call hangs and where it stands, and end the process; until then, that it is alive."""
    waits = threading.Event()
    looks = 0
    while True:
        waits.wait(_LOOK)
        looks += 1
        late = watch.overdue()
        if late is not None:
            channel.say(hung=hung(reached[-1], late, current_location(thread)).to_json())
            os._exit(0)
        if looks % _BEAT == 0:
            channel.say(alive=True)


if __name__ == "__main__":
    main()
