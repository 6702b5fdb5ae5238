"""How far long work is: a bar where somebody watches, plain lines where nobody does."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TextIO

from robossl.core.interfaces import NullProgress

_EVERY = 5.0  # [s] between two plain lines


@dataclass
class Phase:
    """One stretch of work: `done` of `total` units since `began`."""

    name: str
    total: int
    unit: str
    began: float  # [s]
    done: int = 0
    figures: dict[str, float] = field(default_factory=dict)  # the latest ones

    def sums(self, now: float) -> str:
        """`1,200 of 4,000 steps, 310/s, 9 s left, loss 0.12`."""
        rate = self.done / max(now - self.began, 1e-9)
        parts = [f"{self.done:,} of {self.total:,} {self.unit}", f"{number(rate)}/s"]
        if rate > 0 and self.total > self.done:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        return ", ".join([*parts, *self.told()])

    def end(self, now: float) -> str:
        """`4,000 steps in 12.9 s (310/s), loss 0.12`; a phase that was cut short says so."""
        seconds = now - self.began
        amount = (
            f"{self.done:,}" if self.done >= self.total else f"stopped at {self.done:,} of {self.total:,}"
        )
        rate = f" ({number(self.done / seconds)}/s)" if self.done and seconds > 0 else ""
        return ", ".join([f"{amount} {self.unit} in {duration(seconds)}{rate}", *self.told()])

    def told(self) -> list[str]:
        """The latest figures in words."""
        return [f"{name.replace('_', ' ')} {number(value)}" for name, value in self.figures.items()]


def number(value: float) -> str:
    """A figure as short as it can be read.

    >>> number(12345.678), number(3.14159), number(0.00012345)
    ('12,346', '3.14', '0.000123')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.25), duration(42), duration(192), duration(7500)
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


class _Closing(ABC):
    """Something to be closed when its `with` ends, however it ends."""

    @abstractmethod
    def close(self) -> None:
        """Stop what is still open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LogProgress(_Closing):
    """Progress as plain lines: at the start and the end of a phase, and every few seconds between."""

    def __init__(
        self, stream: TextIO, every: float = _EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._every = every  # [s]
        self._clock = clock
        self._phases: list[Phase] = []  # a phase may hold another
        self._said = 0.0  # [s] when the last line was

    def start(self, phase: str, total: int, unit: str) -> None:
        """Says what begins."""
        self._phases.append(Phase(phase, total, unit, self._clock()))
        self._say(f"{phase}: {total:,} {unit}")

    def update(self, count: int, **figures: float) -> None:
        """Says how far it is, where the last line is old enough."""
        assert self._phases, "advance before start"
        phase = self._phases[-1]
        phase.done += count
        phase.figures |= figures
        if self._clock() - self._said >= self._every:
            self._say(f"{phase.name}: {phase.sums(self._clock())}")

    def stop(self) -> None:
        """Says what was done, and in how many seconds."""
        if self._phases:
            phase = self._phases.pop()
            self._say(f"{phase.name}: {phase.end(self._clock())}")

    def message(self, text: str) -> None:
        """Says it at once."""
        self._say(text)

    def _say(self, line: str) -> None:
        self._said = self._clock()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Stop what is still open."""
        while self._phases:
            self.stop()


class ProgressBar(_Closing):
    """Progress as a bar with rate, time left and the latest figures; a finished phase leaves one line."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        self._clock = clock
        self._phases: list[tuple[Phase, Any]] = []  # with the bar of each
        self._shown: Any = None  # rich's display, there while a phase is open

    def start(self, phase: str, total: int, unit: str) -> None:
        """A bar appears."""
        if self._shown is None:
            self._shown = self._display()
            self._shown.start()
        entry = Phase(phase, total, unit, self._clock())
        bar = self._shown.add_task(phase, total=max(total, 1), words=f"0 of {total:,} {unit}")
        self._phases.append((entry, bar))

    def _display(self) -> Any:
        from rich import progress

        return progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # results go there
            refresh_per_second=5,
        )

    def update(self, count: int, **figures: float) -> None:
        """The bar grows."""
        assert self._phases, "advance before start"
        phase, bar = self._phases[-1]
        phase.done += count
        phase.figures |= figures
        self._shown.update(bar, completed=phase.done, words=phase.sums(self._clock()))

    def stop(self) -> None:
        """The bar goes; a line says what was done, and in how many seconds."""
        if not self._phases:
            return
        phase, bar = self._phases.pop()
        self._shown.remove_task(bar)
        if not self._phases:
            self._shown.stop()
            self._shown = None
        self.message(f"{phase.name}: {phase.end(self._clock())}")

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop what is still open and give the terminal back as it was."""
        while self._phases:
            self.stop()


class QuietProgress(_Closing, NullProgress):
    """No progress; notes are still said, since a warning is not progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def message(self, text: str) -> None:
        """Says it at once."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is open."""


def progress(quiet: bool = False, stream: TextIO | None = None) -> ProgressBar | LogProgress | QuietProgress:
    """What shows progress on `stream` (stderr): a bar on a terminal, plain lines elsewhere.

    Use it as a context manager where work may be interrupted: it gives the terminal back as it was.
    """
    stream = stream if stream is not None else sys.stderr
    if quiet:
        return QuietProgress(stream)
    return ProgressBar(stream) if _terminal(stream) else LogProgress(stream)


def _terminal(stream: TextIO) -> bool:
    """Somebody watches, on something that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
