"""Which call into an environment is going on, since when, what it raised, and at which of its lines."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from robossl.core.errors import OperationError, UsageError
from robossl.core.traceback_utils import format_location


class EnvCallError(Exception):
    """A call into an environment raised: which call, what, and where in whose file."""

    def __init__(self, call: str, error: BaseException) -> None:
        self.call = call
        self.kind = type(error).__name__
        self.ours = isinstance(error, (UsageError, OperationError))  # it says itself what is to be done
        self.words = _first_line(error) if self.ours else f"{self.kind}: {_first_line(error)}".rstrip(": ")
        self.where = "" if self.ours else format_location(traceback.extract_tb(error.__traceback__))
        missing = self.kind in ("DependencyNotInstalled", "ModuleNotFoundError")
        told = re.findall(r"pip install [^`]+", self.words) if missing else []
        self.install = " && ".join(told)  # what the env says is to be installed
        said = "was refused" if self.ours else "raised"
        where = f" at {self.where}" if self.where else ""
        super().__init__(f"{call} {said}{':' if self.ours else ''} {self.words}{where}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


@dataclass(frozen=True)
class Call:
    """A call into an env that is going on."""

    name: str
    began: float  # [s]
    seconds: float  # [s] it may take

    @property
    def overdue(self) -> bool:
        """It has taken longer than it may."""
        return time.monotonic() - self.began > self.seconds


class CallMonitor:
    """Knows the call that is going on. Whoever watches asks for `overdue` from another thread."""

    def __init__(
        self, seconds: float, entered: Callable[[str, float], None] = lambda name, seconds: None
    ) -> None:
        self.seconds = seconds  # [s] one call into the env may take
        self._entered = entered
        self._last = ""
        self._current: Call | None = None
        self.abandoned = False  # nobody waits any more: the thread ends when the call comes back

    @contextmanager
    def call(self, name: str, patience: float = 1.0) -> Iterator[None]:
        """A call into the env; it may take `patience` times the limit; what it raises becomes a `Fault`."""
        if name != self._last:
            self._entered(name, self.seconds * patience)
            self._last = name
        self._current = Call(name, time.monotonic(), self.seconds * patience)
        try:
            yield
        except (Exception, SystemExit) as error:  # strangers' code may raise anything; it becomes a finding
            raise EnvCallError(name, error) from error
        finally:
            self._current = None
            if self.abandoned:
                sys.exit()

    def overdue(self) -> Call | None:
        """The call that has taken too long; None where none has."""
        call = self._current
        return call if call is not None and call.overdue else None


def current_location(thread: int) -> str:
    """Where a thread stands now, in the env's own file."""
    frame: FrameType | None = sys._current_frames().get(thread)
    return format_location(traceback.extract_stack(frame)) if frame is not None else ""
