"""Watch over calls of third-party code: name a call that takes long, and end one that hangs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from robossl.core.errors import OperationError, UsageError

VARIABLE = "ROBOSSL_ENV_TIMEOUT"  # [s] environment variable
_TIMEOUT = 600.0  # [s] after which a call is ended
_WARN_AFTER = 30.0  # [s] after which a call is named; again after twice the time
_GRACE = 10.0  # [s] for a call to end after the signal
_POLL = 0.5  # [s]
_SIGNAL = getattr(signal, "SIGUSR2", None)  # Windows has none
_logger = logging.getLogger(__name__)


class HungCallError(OperationError):
    """A call of third-party code did not return in time."""


@dataclass(eq=False, slots=True)
class _Call:
    """A call that is running."""

    what: str
    detail: Callable[[int], str]
    thread: int
    start: float
    next_warning: float = _WARN_AFTER
    hung: str = ""  # message, once it is over the limit


class _Watcher:
    """The running calls of this process, and the thread that watches them."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.exits = False  # end the process if the call cannot be ended otherwise
        self._process = 0  # in which the thread runs

    def start(self) -> None:
        """Start the thread, once in a process, and handle the signal that it sends."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self.calls = []
        in_main = threading.current_thread() is threading.main_thread()
        if _SIGNAL is not None and in_main and signal.getsignal(_SIGNAL) is signal.SIG_DFL:
            signal.signal(_SIGNAL, self._end_call)
        threading.Thread(target=self._watch, name="call watch", daemon=True).start()

    def _end_call(self, number: int, frame: FrameType | None) -> None:
        if self.calls and self.calls[-1].hung:
            raise HungCallError(self.calls[-1].hung)

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL)
            for call in self.calls[-1:]:
                self._check(call, time.monotonic() - call.start)

    def _check(self, call: _Call, seconds: float) -> None:
        limit = timeout()
        if seconds >= call.next_warning and not call.hung:
            call.next_warning *= 2
            end = f"; it is ended after {limit:g} s ({VARIABLE})" if limit else ""
            _logger.warning("%s has not returned for %.0f s%s%s", call.what, seconds, self._where(call), end)
        if not limit or seconds < limit:
            return
        if not call.hung:
            call.hung = (
                f"{call.what} hangs: it did not return in {limit:g} s{self._where(call)}; what was recorded before is "
                f"kept; for a longer limit set {VARIABLE}, 0: none"
            )
        main = threading.main_thread().ident
        if _SIGNAL is not None and call.thread == main and callable(signal.getsignal(_SIGNAL)):
            signal.pthread_kill(call.thread, _SIGNAL)
        if self.exits and seconds > limit + _GRACE:  # in code that no signal reaches
            print(f"\nrobossl: {call.hung}", file=sys.stderr, flush=True)
            os._exit(1)

    def _where(self, call: _Call) -> str:
        """Return ` in sub-environment 3 (my_env.py:31)`, as far as known."""
        from robossl.core.traceback_utils import format_location  # imports Gymnasium, which takes long

        frame = sys._current_frames().get(call.thread)
        location = format_location(traceback.extract_stack(frame)) if frame is not None else ""
        detail = call.detail(call.thread)
        return f"{f' {detail}' if detail else ''}{f' at {location}' if location else ''}"


_watcher = _Watcher()


def timeout() -> float:
    """Return the limit [s] of a call; 0: none.

    Raises:
        UsageError: The environment variable is not a number of 0 or more.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return _TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{VARIABLE}: expected a number of seconds of 0 or more, got {text!r}")
    return seconds


def exit_on_hang() -> None:
    """End the process with exit code 1 if a call hangs in code that cannot be interrupted; for command lines."""
    _watcher.exits = True


class watched:
    """Watch the call in a `with` block.

    Args:
        what: Name of the call for messages: `my/Env-v0: step`.
        detail: Returns where a thread hangs, such as the sub-environment; called from another thread.

    Raises:
        HungCallError: The call did not return in time. In code that no signal reaches, it is only named.
    """

    __slots__ = ("_call",)

    def __init__(self, what: str, detail: Callable[[int], str] = lambda thread: "") -> None:
        self._call = _Call(what, detail, 0, 0.0)

    def __enter__(self) -> None:
        if _watcher._process != os.getpid():
            timeout()  # raises for a wrong value
            _watcher.start()
        self._call.thread, self._call.start = threading.get_ident(), time.monotonic()
        _watcher.calls.append(self._call)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        _watcher.calls.remove(self._call)
        if kind is None and self._call.hung:
            raise HungCallError(self._call.hung)
