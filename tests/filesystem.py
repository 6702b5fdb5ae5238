"""Folders that cannot be written, for real: a read-only folder, a small disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capabilities import require


def mounted(folder: Path, *options: str) -> bool:
    """Mount a file system on a folder; return whether that succeeded."""
    command = ["mount", *options, str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(command, capture_output=True).returncode


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Yield a folder that cannot be written, not even by root; skip the test without permission to mount."""
    folder.mkdir(exist_ok=True)
    require(mounted(folder, "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs"), "permission to mount")

    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
