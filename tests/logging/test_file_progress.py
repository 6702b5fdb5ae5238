"""FileProgress: the lines of the terminal are also in log.txt, and a file that cannot be written stops nothing."""

from __future__ import annotations

import io
import re

from robossl.logging.file_progress import FileProgress
from robossl.logging.progress import LogProgress


def work(progress: FileProgress) -> None:
    progress.start("explore", 10, "steps")
    progress.update(10, loss=0.5)
    progress.message("a message")
    progress.stop()
    progress.close()


def test_log_has_the_lines_of_the_terminal_with_the_time_of_day(tmp_path):
    stream = io.StringIO()
    for _ in range(2):  # a resumed run appends
        work(FileProgress(LogProgress(stream), tmp_path))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    assert [line[10:].split(" in ")[0] for line in lines] == [
        line.split(" in ")[0] for line in stream.getvalue().splitlines()
    ]


def test_log_that_cannot_be_written_does_not_stop_the_work(tmp_path):
    (tmp_path / "log.txt").mkdir()
    stream = io.StringIO()
    work(FileProgress(LogProgress(stream), tmp_path))
    assert "a message" in stream.getvalue()
