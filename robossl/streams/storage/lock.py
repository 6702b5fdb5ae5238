"""One writer at a time: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

from robossl.core.errors import OperationError, UsageError

_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """The right to append to the stream in a folder. The operating system takes it back from the dead."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; `RequestError` naming the process that holds it."""
        try:
            descriptor = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OperationError(f"cannot write to {folder}: {error.strerror}") from error
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace") or "unknown"
            self.release()
            whose = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise UsageError(
                f"{folder} already has a writer ({whose}); a stream has one writer, any number of readers"
            ) from None
        with contextlib.suppress(OSError):  # the number is a courtesy that a full disk may refuse
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        _HELD.add(self)

    def release(self) -> None:
        """Let another writer in."""
        self._close()


def _forget() -> None:
    """A forked child inherits the open file and would keep the lock alive after its parent's death."""
    for lock in list(_HELD):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
