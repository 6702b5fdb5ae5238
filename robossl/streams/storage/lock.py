"""Writer lock: one writer at a time; the operating system releases the lock when its process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

from robossl.core.errors import OperationError, UsageError

_LOCKS_OF_PROCESS: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """Exclusive right to append to the stream in a folder."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock; raise UsageError with the process id if another writer has it."""
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
            owner = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise UsageError(
                f"{folder} already has a writer ({owner}); expected one writer and any number of readers"
            ) from None
        with contextlib.suppress(OSError):  # the process id is optional: the disk may be full
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        _LOCKS_OF_PROCESS.add(self)

    def release(self) -> None:
        """Release the lock."""
        self._close()


def _release_in_child() -> None:
    """Close inherited locks: a forked child would otherwise keep the lock after its parent's death."""
    for lock in list(_LOCKS_OF_PROCESS):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
