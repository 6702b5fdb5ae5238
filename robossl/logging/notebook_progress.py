"""Progress in a notebook: one bar that is redrawn in place, without widgets."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from html import escape
from typing import Any

from robossl.core.display import in_notebook
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.logging.progress import Phase

_INTERVAL = 0.2  # [s] between two redraws
_BAR = (
    "<div style='display:flex;gap:.8em;align-items:center;font-size:.9em'><span>{name}</span>"
    "<progress value='{done}' max='{total}' style='width:12em'></progress><span>{status}</span></div>"
)
_LINE = "<div style='font-size:.9em'>{text}</div>"


class NotebookProgress:
    """Progress as HTML in the output of a cell: a bar for each open phase, and a line for each finished one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, display: Any = None) -> None:
        """Create a reporter.

        Args:
            clock: Time [s].
            display: The module IPython.display; None: imported at first use.
        """
        self._clock, self._display = clock, display
        self._phases: list[Phase] = []  # phases can be nested
        self._lines: list[str] = []
        self._handle: Any = None
        self._last_draw = float("-inf")  # [s]

    def start(self, phase: str, total: int, unit: str) -> None:
        """Show a bar."""
        self._phases.append(Phase(phase, total, unit, self._clock()))
        self._draw()

    def update(self, count: int, **metrics: float) -> None:
        """Advance the bar by `count` units."""
        phase = self._phases[-1]
        phase.done += count
        phase.metrics |= metrics
        if self._clock() - self._last_draw >= _INTERVAL:
            self._draw()

    def stop(self) -> None:
        """Replace the bar by the summary of the phase."""
        if self._phases:
            phase = self._phases.pop()
            self.message(f"{phase.name}: {phase.format_done(self._clock())}")

    def message(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)
        self._draw()

    def close(self) -> None:
        """Stop all open phases."""
        while self._phases:
            self.stop()

    def html(self) -> str:
        """Return the lines and bars as HTML."""
        now = self._clock()
        bars = [
            _BAR.format(
                name=escape(p.name), done=p.done, total=max(p.total, 1), status=escape(p.format_running(now))
            )
            for p in self._phases
        ]
        return "".join([*(_LINE.format(text=escape(line)) for line in self._lines), *bars])

    def _draw(self) -> None:
        self._last_draw = self._clock()
        self._display = self._display or importlib.import_module("IPython.display")
        content = self._display.HTML(self.html())
        if self._handle is None:
            self._handle = self._display.display(content, display_id=True)
        else:
            self._handle.update(content)


def default_progress() -> ProgressReporter:
    """Return the reporter of a function that was given none: a bar in a notebook, nothing elsewhere."""
    return NotebookProgress() if in_notebook() else NullProgress()
