"""Progress as lines and as a bar: what is said, when, where, and that the terminal is given back."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.logging.progress import LogProgress, ProgressBar, QuietProgress, duration, number, progress


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _lines() -> tuple[LogProgress, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return LogProgress(stream, every=5.0, clock=clock), stream, clock


def test_lines_at_start_now_and_then_and_at_the_end() -> None:
    lines, stream, clock = _lines()
    lines.start("explore", 4000, "steps")
    for _ in range(8):
        clock.now += 2.0
        lines.update(500, loss=0.125)
    lines.stop()
    said = stream.getvalue().splitlines()
    assert said[0] == "explore: 4,000 steps"
    assert said[-1] == "explore: 4,000 steps in 16 s (250/s), loss 0.125"
    assert said[1:-1] == [
        "explore: 1,500 of 4,000 steps, 250/s, 10 s left, loss 0.125",
        "explore: 3,000 of 4,000 steps, 250/s, 4.0 s left, loss 0.125",
    ]


def test_a_phase_inside_another_goes_back_to_it() -> None:
    lines, stream, clock = _lines()
    lines.start("outer", 10, "rounds")
    lines.start("inner", 5, "updates")
    clock.now += 1.0
    lines.update(5)
    lines.stop()
    lines.update(1)
    clock.now += 1.0
    lines.stop()
    said = stream.getvalue().splitlines()
    assert said[2] == "inner: 5 updates in 1.0 s (5/s)"
    assert said[3] == "outer: stopped at 1 of 10 rounds in 2.0 s (0.5/s)"


def test_stop_without_a_phase_is_nothing() -> None:
    lines, stream, _ = _lines()
    lines.stop()
    assert stream.getvalue() == ""


def test_the_latest_figures_are_kept() -> None:
    lines, stream, _ = _lines()
    lines.start("learn", 2, "updates")
    lines.update(1, loss=3.0, world_error=1.0)
    lines.update(1, loss=2.0)
    lines.stop()
    assert "loss 2, world error 1" in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize("kind", [LogProgress, ProgressBar])
def test_interrupted_work_is_closed_and_said(kind: type[LogProgress] | type[ProgressBar]) -> None:
    stream = Terminal()

    def interrupted() -> None:
        with kind(stream) as shown:
            shown.start("explore", 100, "steps")
            shown.start("deeper", 100, "steps")
            shown.update(7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "stopped at 7 of 100" in stream.getvalue()
    assert "explore: stopped at 0 of 100" in stream.getvalue()


def test_the_bar_gives_the_cursor_back() -> None:
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


def test_the_bar_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with ProgressBar(stream) as bar:
        bar.start("explore", 1, "steps")
        print('{"result": 1}')
    assert capsys.readouterr().out == '{"result": 1}\n'


def test_what_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress(stream=io.StringIO()), LogProgress)
    assert isinstance(progress(stream=Terminal()), ProgressBar)
    assert isinstance(progress(quiet=True, stream=Terminal()), QuietProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress(stream=Terminal()), LogProgress)


def test_without_a_stream_it_is_stderr_of_now(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as shown:
        shown.message("here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "here\n")


def test_quiet_still_says_notes() -> None:
    stream = io.StringIO()
    with progress(quiet=True, stream=stream) as shown:
        shown.start("explore", 3, "steps")
        shown.update(3)
        shown.stop()
        shown.message("a checkpoint is damaged")
    assert stream.getvalue() == "a checkpoint is damaged\n"


@pytest.mark.parametrize(
    "shown",
    [LogProgress(io.StringIO()), ProgressBar(Terminal()), QuietProgress(io.StringIO()), NullProgress()],
)
def test_all_keep_the_contract(shown: ProgressReporter) -> None:
    shown.start("explore", 0, "steps")
    shown.update(1, loss=float("nan"))
    shown.message("a note")
    shown.stop()


def test_words() -> None:
    assert [number(v) for v in (0, 0.5, 999, 1e6)] == ["0", "0.5", "999", "1,000,000"]
    assert [duration(v) for v in (0, 59.6, 3599.9, 86400)] == [
        "0.0 s",
        "1 min 00 s",
        "1 h 00 min",
        "24 h 00 min",
    ]


def test_rich_is_imported_only_when_a_bar_is_shown() -> None:
    code = (
        "import io, sys; from robossl.logging.progress import progress; s = progress(stream=io.StringIO());"
        "s.start('a', 1, 'b'); s.advance(1); s.stop(); sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
