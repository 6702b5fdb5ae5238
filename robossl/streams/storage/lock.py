"""Writer lock: one writer at a time; the operating system releases the lock when its process ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import filelock

from robossl.core.errors import OperationError, UsageError


class WriterLock:
    """Exclusive right to append to the stream in a folder; a forked child does not inherit it."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock; raise UsageError with the process id if another writer has it."""
        path = folder / "writer.lock"
        # no soft lock: it stays when its process dies; another thread may release the lock
        self._lock = filelock.FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            holder = path.read_text(errors="replace") or "unknown"
            owner = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise UsageError(
                f"{folder} already has a writer ({owner}); expected one writer and any number of readers"
            ) from None
        except OSError as error:
            raise OperationError(f"cannot write to {folder}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # the process id is optional: the disk may be full
            path.write_text(str(os.getpid()))

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()
