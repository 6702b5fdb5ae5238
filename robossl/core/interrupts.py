"""Whether this process was interrupted: a Ctrl-C that third-party code has swallowed ends the work all the same."""

from __future__ import annotations

import threading

_received = threading.Event()


def note() -> None:
    """Note that a signal to interrupt the work has come; called by the handler of a command."""
    _received.set()


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come; called between the parts of long work."""
    if _received.is_set():
        raise KeyboardInterrupt


def clear() -> None:
    """Forget the signals; called when a command begins and ends."""
    _received.clear()
