"""FileProgress: a progress reporter that also writes its lines, with the time of day, into a file."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TextIO

from robossl.core.interfaces import ProgressReporter
from robossl.logging.progress import LogProgress

LOG = "log.txt"


class FileProgress:
    """Passes all calls to another reporter and appends the same as plain lines to `log.txt` in a folder.

    A file that cannot be written does not stop the work: it is left as it is.
    """

    def __init__(self, inner: ProgressReporter, folder: str | Path) -> None:
        """Open the log of a folder."""
        self._inner = inner
        self._lines = LogProgress(_open(Path(folder) / LOG))

    def start(self, phase: str, total: int, unit: str) -> None:
        """Begin a phase of `total` units."""
        self._inner.start(phase, total, unit)
        self._lines.start(phase, total, unit)

    def update(self, count: int, **metrics: float) -> None:
        """Add `count` finished units."""
        self._inner.update(count, **metrics)
        self._lines.update(count, **metrics)

    def stop(self) -> None:
        """End the phase."""
        self._inner.stop()
        self._lines.stop()

    def message(self, text: str) -> None:
        """Print a message once."""
        self._inner.message(text)
        self._lines.message(text)

    def close(self) -> None:
        """End both reports."""
        self._lines.close()
        self._inner.close()


class _TimedFile(io.TextIOBase):
    """A text file that begins each line with the time of day."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> int:
        """Append a line."""
        if text.strip():
            try:
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
            except OSError:  # a full disk: the checkpoint reports it
                return 0
        return len(text)


def _open(path: Path) -> TextIO:
    return _TimedFile(path)  # type: ignore[return-value]
