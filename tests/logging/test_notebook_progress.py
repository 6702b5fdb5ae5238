"""Progress in a notebook: one output that is redrawn, with a line for each finished phase."""

from __future__ import annotations

from robossl.core.interfaces import NullProgress
from robossl.logging.notebook_progress import NotebookProgress, default_progress


class FakeDisplay:
    """IPython.display, as far as it is used; keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, content: str, display_id: bool) -> FakeDisplay:
        assert display_id
        self.shown.append(content)
        return self

    def update(self, content: str) -> None:
        self.shown.append(content)


def make(seconds: list[float]) -> tuple[NotebookProgress, FakeDisplay]:
    shown = FakeDisplay()
    return NotebookProgress(lambda: seconds[0], shown), shown


def test_open_phases_are_bars_and_finished_ones_are_lines():
    seconds = [0.0]
    progress, shown = make(seconds)
    progress.start("outer", 2, "iterations")
    progress.start("collect <x>", 10, "steps")
    seconds[0] = 1.0
    progress.update(4, loss=0.5)
    assert shown.shown[-1].count("<progress") == 2
    assert "collect &lt;x&gt;" in shown.shown[-1]
    assert "value='4' max='10'" in shown.shown[-1]
    assert "loss 0.5" in shown.shown[-1]
    progress.stop()
    assert shown.shown[-1].count("<progress") == 1
    assert "stopped at 4 of 10 steps" in shown.shown[-1]
    progress.close()
    assert "<progress" not in shown.shown[-1]


def test_fast_updates_are_drawn_at_intervals():
    seconds = [0.0]
    progress, shown = make(seconds)
    progress.start("collect", 1000, "steps")
    for _ in range(1000):
        seconds[0] += 0.001
        progress.update(1)
    assert 4 <= len(shown.shown) <= 7


def test_outside_of_a_notebook_functions_report_nothing():
    assert isinstance(default_progress(), NullProgress)
