"""Writer lock: one writer of a stream at a time, and any number of readers."""

from __future__ import annotations

import shutil
from pathlib import Path

from robossl.core.folder_lock import FolderLock

LOCK_FILE = "writer.lock"
_REFUSAL = "{folder} already has a writer ({owner}); expected one writer and any number of readers"


class WriterLock(FolderLock):
    """Exclusive right to append to the stream in a folder; a forked child does not inherit it."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock; raise UsageError with the process id if another writer has it."""
        super().__init__(folder, LOCK_FILE, _REFUSAL)


def remove_stream(folder: Path) -> None:
    """Remove the stream in a folder, if there is one; raise UsageError if another writer has it."""
    if folder.is_dir():
        with WriterLock(folder):
            shutil.rmtree(folder)
