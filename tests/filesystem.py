"""Places that are hard to write to, for real: a read-only folder, a small disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mounted(folder: Path, *words: str) -> bool:
    """Mount something on a folder; False where nobody may."""
    command = ["mount", *words, str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(command, capture_output=True).returncode


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder that nobody may write to, root neither; skips where that cannot be had."""
    folder.mkdir(exist_ok=True)
    if not mounted(folder, "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs"):
        pytest.skip("no right to mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
