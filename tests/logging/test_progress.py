"""Progress reporters: printed lines, their times and stream, nested phases, restored terminal."""

from __future__ import annotations

import errno
import io
import subprocess
import sys

import pytest

from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.logging.progress import (
    LogProgress,
    ProgressBar,
    QuietProgress,
    format_duration,
    format_number,
    make_progress,
)


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream whose `isatty` is true."""

    def isatty(self) -> bool:
        return True


def _log_progress() -> tuple[LogProgress, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return LogProgress(stream, interval=5.0, clock=clock), stream, clock


def test_log_progress_prints_at_start_at_intervals_and_at_end() -> None:
    progress, stream, clock = _log_progress()
    progress.start("explore", 4000, "steps")
    for _ in range(8):
        clock.now += 2.0
        progress.update(500, loss=0.125)
    progress.stop()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "explore: 4,000 steps"
    assert lines[-1] == "explore: 4,000 steps in 16 s (250/s), loss 0.125"
    assert lines[1:-1] == [
        "explore: 1,500 of 4,000 steps, 250/s, 10 s left, loss 0.125",
        "explore: 3,000 of 4,000 steps, 250/s, 4.0 s left, loss 0.125",
    ]


def test_stop_returns_to_outer_phase() -> None:
    progress, stream, clock = _log_progress()
    progress.start("outer", 10, "iterations")
    progress.start("inner", 5, "updates")
    clock.now += 1.0
    progress.update(5)
    progress.stop()
    progress.update(1)
    clock.now += 1.0
    progress.stop()
    lines = stream.getvalue().splitlines()
    assert lines[2] == "inner: 5 updates in 1.0 s (5/s)"
    assert lines[3] == "outer: stopped at 1 of 10 iterations in 2.0 s (0.5/s)"


def test_stop_without_phase_prints_nothing() -> None:
    progress, stream, _ = _log_progress()
    progress.stop()
    assert stream.getvalue() == ""


def test_latest_metrics_are_printed() -> None:
    progress, stream, _ = _log_progress()
    progress.start("learn", 2, "updates")
    progress.update(1, loss=3.0, world_error=1.0)
    progress.update(1, loss=2.0)
    progress.stop()
    assert "loss 2, world error 1" in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize("kind", [LogProgress, ProgressBar])
def test_interrupted_phases_are_stopped_and_printed(kind: type[LogProgress] | type[ProgressBar]) -> None:
    stream = Terminal()

    def interrupted() -> None:
        with kind(stream) as progress:
            progress.start("explore", 100, "steps")
            progress.start("deeper", 100, "steps")
            progress.update(7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "stopped at 7 of 100" in stream.getvalue()
    assert "explore: stopped at 0 of 100" in stream.getvalue()


def test_progress_bar_restores_cursor() -> None:
    stream = Terminal()
    with ProgressBar(stream) as bar:
        bar.start("explore", 100, "steps")
        bar.update(40, loss=0.5)
        bar.message("a [bracketed] note")
        bar.stop()
    text = stream.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "a [bracketed] note" in text
    assert "explore: stopped at 40 of 100 steps" in text


def test_progress_bar_does_not_write_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with ProgressBar(stream) as bar:
        bar.start("explore", 1, "steps")
        print('{"result": 1}')
    assert capsys.readouterr().out == '{"result": 1}\n'


def test_make_progress_selects_reporter_by_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_progress(stream=io.StringIO()), LogProgress)
    assert isinstance(make_progress(stream=Terminal()), ProgressBar)
    assert isinstance(make_progress(quiet=True, stream=Terminal()), QuietProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(stream=Terminal()), LogProgress)


def test_default_stream_is_current_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress() as progress:
        progress.message("here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "here\n")


def test_quiet_progress_prints_messages() -> None:
    stream = io.StringIO()
    with make_progress(quiet=True, stream=stream) as progress:
        progress.start("explore", 3, "steps")
        progress.update(3)
        progress.stop()
        progress.message("a checkpoint is damaged")
    assert stream.getvalue() == "a checkpoint is damaged\n"


@pytest.mark.parametrize(
    "progress",
    [LogProgress(io.StringIO()), ProgressBar(Terminal()), QuietProgress(io.StringIO()), NullProgress()],
)
def test_every_reporter_implements_protocol(progress: ProgressReporter) -> None:
    progress.start("explore", 0, "steps")
    progress.update(1, loss=float("nan"))
    progress.message("a note")
    progress.stop()


def test_numbers_and_durations_are_short() -> None:
    assert [format_number(v) for v in (0, 0.5, 999, 1e6)] == ["0", "0.5", "999", "1,000,000"]
    assert [format_duration(v) for v in (0, 59.6, 3599.9, 86400)] == [
        "0.0 s",
        "1 min 00 s",
        "1 h 00 min",
        "24 h 00 min",
    ]


def test_log_progress_does_not_import_rich() -> None:
    code = (
        "import io, sys; from robossl.logging.progress import make_progress; s = make_progress(stream=io.StringIO());"
        "s.start('a', 1, 'b'); s.update(1); s.stop(); sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class _Unwritable(io.StringIO):
    """A stream that fails."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def write(self, text: str) -> int:
        raise OSError(self.code, "unwritable")


def test_closed_pipe_interrupts_and_full_disk_does_not():
    progress = LogProgress(_Unwritable(errno.EPIPE))
    with pytest.raises(KeyboardInterrupt):
        progress.start("collect", 10, "steps")
    progress.message("nothing is written any more")
    full = LogProgress(_Unwritable(errno.ENOSPC))
    full.start("collect", 10, "steps")
    full.stop()
