"""Lock of a folder: one process at a time; the operating system releases the lock when its process ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self

import filelock

from robossl.core.errors import OperationError, UsageError


class FolderLock:
    """Exclusive right to change a folder; a forked child does not inherit it."""

    def __init__(self, folder: str | Path, name: str, refusal: str) -> None:
        """Acquire the lock.

        Args:
            folder: The folder.
            name: Name of the lock file in it.
            refusal: Message if another process has the lock, with {folder} and {owner}.

        Raises:
            UsageError: Another process, or this one, has the lock already.
            OperationError: The lock file cannot be written.
        """
        path = Path(folder) / name
        # no soft lock: it stays when its process dies; another thread may release the lock
        self._lock = filelock.FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            holder = path.read_text(errors="replace")[:40] or "unknown"
            owner = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise UsageError(refusal.format(folder=folder, owner=owner)) from None
        except OSError as error:
            raise OperationError(f"cannot write to {folder}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # the process id is optional: the disk may be full
            path.write_text(str(os.getpid()))

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
