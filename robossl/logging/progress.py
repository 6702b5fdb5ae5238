"""Progress reporters for long work: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from robossl.core.interfaces import NullProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_INTERVAL = 5.0  # [s] between two plain lines


@dataclass
class Phase:
    """One phase of work: `done` of `total` units, started at time `started`."""

    name: str
    total: int
    unit: str
    started: float  # [s]
    done: int = 0
    metrics: dict[str, float] = field(default_factory=dict)  # the latest values

    def format_running(self, now: float) -> str:
        """Return the state of an unfinished phase: `1,200 of 4,000 steps, 310/s, 9 s left, loss 0.12`."""
        rate = self.done / max(now - self.started, 1e-9)
        parts = [f"{self.done:,} of {self.total:,} {self.unit}", f"{format_number(rate)}/s"]
        if rate > 0 and self.total > self.done:
            parts.append(f"{format_duration((self.total - self.done) / rate)} left")
        return ", ".join([*parts, *self.format_metrics()])

    def format_done(self, now: float) -> str:
        """Return the summary of a stopped phase: `4,000 steps in 12.9 s (310/s), loss 0.12`.

        A phase that stopped early gives `stopped at 1,200 of 4,000 steps ...`.
        """
        seconds = now - self.started
        amount = (
            f"{self.done:,}" if self.done >= self.total else f"stopped at {self.done:,} of {self.total:,}"
        )
        rate = f" ({format_number(self.done / seconds)}/s)" if self.done and seconds > 0 else ""
        return ", ".join(
            [f"{amount} {self.unit} in {format_duration(seconds)}{rate}", *self.format_metrics()]
        )

    def format_metrics(self) -> list[str]:
        """Return the latest metrics, one string each: `loss 0.12`."""
        return [f"{name.replace('_', ' ')} {format_number(value)}" for name, value in self.metrics.items()]


class _Nowhere(io.StringIO):
    """A stream that drops what is written."""

    def write(self, text: str) -> int:
        return len(text)


class Lines:
    """Lines of text for a stream that may be closed at any time.

    A closed pipe or terminal interrupts the work like Ctrl-C, so that it is saved; after a full disk it goes on without
    lines.
    """

    def __init__(self, stream: TextIO) -> None:
        """Print to `stream`."""
        self._stream: TextIO = stream

    def print(self, text: str) -> None:
        """Print a line."""
        try:
            print(text, file=self._stream, flush=True)
        except OSError as error:
            if self._stream is sys.stderr:
                sys.stderr = _Nowhere()  # else Python reports the closed pipe once more at its end
            self._stream = _Nowhere()
            if error.errno in (errno.EPIPE, errno.EIO):
                _interrupt()


def _interrupt() -> None:
    """Interrupt this thread like Ctrl-C; the handler of the signal may wait for the end of a step."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(signal.getsignal(signal.SIGINT)):
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def format_number(value: float) -> str:
    """Return a number with three significant digits, or as a whole number from 1000 on.

    >>> format_number(12345.678), format_number(3.14159), format_number(0.00012345)
    ('12,346', '3.14', '0.000123')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def format_duration(seconds: float) -> str:
    """Return seconds in seconds, minutes or hours.

    >>> format_duration(0.25), format_duration(42), format_duration(192), format_duration(7500)
    ('0.2 s', '42 s', '3 min 12 s', '2 h 05 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _ContextManaged(ABC):
    """Base class: `close` is called at the end of a `with` block, also after an exception."""

    @abstractmethod
    def close(self) -> None:
        """Stop all open phases."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LogProgress(_ContextManaged):
    """Progress as plain lines: one at the start and the end of each phase, and one every few seconds."""

    def __init__(
        self, stream: TextIO, interval: float = _LINE_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = Lines(stream)
        self._interval = interval  # [s]
        self._clock = clock
        self._phases: list[Phase] = []  # phases can be nested
        self._last_line = 0.0  # [s] time of the last printed line

    def start(self, phase: str, total: int, unit: str) -> None:
        """Print the name and the size of the phase."""
        self._phases.append(Phase(phase, total, unit, self._clock()))
        self._print(f"{phase}: {total:,} {unit}")

    def update(self, count: int, **metrics: float) -> None:
        """Count `count` more units; print a line if the last one is old enough."""
        assert self._phases, "update() called before start()"
        phase = self._phases[-1]
        phase.done += count
        phase.metrics |= metrics
        if self._clock() - self._last_line >= self._interval:
            self._print(f"{phase.name}: {phase.format_running(self._clock())}")

    def stop(self) -> None:
        """Print the summary of the phase."""
        if self._phases:
            phase = self._phases.pop()
            self._print(f"{phase.name}: {phase.format_done(self._clock())}")

    def message(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def _print(self, line: str) -> None:
        self._last_line = self._clock()
        self._lines.print(line)

    def close(self) -> None:
        """Stop all open phases."""
        while self._phases:
            self.stop()


class ProgressBar(_ContextManaged):
    """A progress bar with rate, time left and the latest metrics; a finished phase leaves one line."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        self._clock = clock
        self._phases: list[tuple[Phase, TaskID]] = []
        self._display: Progress | None = None  # exists while a phase is open

    def start(self, phase: str, total: int, unit: str) -> None:
        """Show a bar."""
        if self._display is None:
            self._display = self._make_display()
            self._display.start()
        entry = Phase(phase, total, unit, self._clock())
        task = self._display.add_task(phase, total=max(total, 1), status=f"0 of {total:,} {unit}")
        self._phases.append((entry, task))

    def _make_display(self) -> Progress:
        from rich import progress

        return progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # stdout is for results
            refresh_per_second=5,
        )

    def update(self, count: int, **metrics: float) -> None:
        """Advance the bar by `count` units."""
        assert self._phases, "update() called before start()"
        assert self._display is not None
        phase, task = self._phases[-1]
        phase.done += count
        phase.metrics |= metrics
        self._display.update(task, completed=phase.done, status=phase.format_running(self._clock()))

    def stop(self) -> None:
        """Remove the bar and print the summary of the phase."""
        if not self._phases or self._display is None:
            return
        phase, task = self._phases.pop()
        self._display.remove_task(task)
        if not self._phases:
            self._display.stop()
            self._display = None
        self.message(f"{phase.name}: {phase.format_done(self._clock())}")

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop all open phases and restore the terminal."""
        while self._phases:
            self.stop()


class QuietProgress(_ContextManaged, NullProgress):
    """No progress; messages are still printed because a warning is not progress."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream)

    def message(self, text: str) -> None:
        """Print a line."""
        self._lines.print(text)

    def close(self) -> None:
        """No effect: no phase is ever open."""


def make_progress(
    quiet: bool = False, stream: TextIO | None = None
) -> ProgressBar | LogProgress | QuietProgress:
    """Return a progress reporter for `stream` (default: stderr): a bar on a terminal, plain lines elsewhere.

    Use it as a context manager where work may be interrupted: it restores the terminal.
    """
    stream = stream if stream is not None else sys.stderr
    if quiet:
        return QuietProgress(stream)
    return ProgressBar(stream) if _is_terminal(stream) else LogProgress(stream)


def _is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
