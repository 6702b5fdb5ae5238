"""The tail: rows of the last seconds survive a crash, and chunks begin and end where they would without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, check_alignment, record_steps

from robossl.core.errors import CorruptedFileError
from robossl.streams import Recorder, Stream, validate_stream
from robossl.streams.storage import store
from robossl.streams.storage.chunk_file import TAIL_FILE, chunk_name

MODE = AutoresetMode.NEXT_STEP
LANES = 5


@pytest.fixture(autouse=True)
def tails_as_often_as_requested(monkeypatch):
    """Do not limit the time spent on tails."""
    monkeypatch.setattr(store, "_TAIL_SHARE", 1e9)


def _record(folder: Path, tail_interval: float = 1e9, commit_rows: int = 60) -> Recorder:
    recorder = Recorder.create(CountingEnvs(LANES, MODE), folder, seed=3)
    recorder.stream.commit_rows, recorder.stream.tail_interval = commit_rows, tail_interval
    recorder.reset()
    return recorder


def _killed(recorder: Recorder, folder: Path) -> Path:
    """Return the stream as a writer leaves it that is killed now."""
    return Path(shutil.copytree(recorder.stream.path, folder))


def _rows(stream: Stream) -> list[dict[str, np.ndarray]]:
    return [stream.read(lane, 0, int(length)) for lane, length in enumerate(stream.lengths)]


def _equal(first: Stream, second: Stream) -> bool:
    pairs = zip(_rows(first), _rows(second), strict=True)
    return all(np.array_equal(a[name], b[name]) for a, b in pairs for name in a)


def _chunk_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("chunk-*"))}


def test_rows_of_a_killed_writer_are_read_and_committed_by_the_next_writer(tmp_path):
    recorder = _record(tmp_path / "s", tail_interval=0.0)
    record_steps(recorder, 37)
    dead = _killed(recorder, tmp_path / "dead")
    lost = int((recorder.stream.lengths - Stream.open(dead).lengths).max())
    assert lost <= 1  # the tail is written with the rows before the newest one
    assert (dead / TAIL_FILE).exists()
    report = validate_stream(dead)
    assert report["ok"]
    assert report["rows"] == Stream.open(dead).rows
    reader = Stream.open(dead)
    writer = Stream.open(dead)
    writer.acquire()
    assert not (dead / TAIL_FILE).exists()
    reader.refresh()
    assert _equal(reader, writer)
    check_alignment(writer)
    writer.close()


def test_chunks_do_not_depend_on_tails(tmp_path):
    for name, interval in (("with", 0.0), ("without", 1e9)):
        recorder = _record(tmp_path / name, interval)
        record_steps(recorder, 50)
        recorder.close()
        assert not (tmp_path / name / TAIL_FILE).exists()
    assert _chunk_bytes(tmp_path / "with") == _chunk_bytes(tmp_path / "without")


def test_reader_follows_tails_and_commits(tmp_path):
    recorder = _record(tmp_path / "s", tail_interval=0.0)
    record_steps(recorder, 1)
    reader = Stream.open(tmp_path / "s")
    for first in range(1, 60):
        record_steps(recorder, 1, first)
        reader.refresh()
        assert int((recorder.stream.lengths - reader.lengths).max()) <= 2  # and the first step of a chunk
    recorder.close()
    reader.refresh()
    assert _equal(reader, recorder.stream)


@pytest.mark.parametrize("later", [0, 3, 30], ids=["at once", "in the tail", "in later chunks"])
def test_recording_resumed_within_a_chunk_gives_the_same_chunks(later, tmp_path):
    whole = _record(tmp_path / "whole")
    record_steps(whole, 60)
    whole.close()
    first = _record(tmp_path / "s")
    record_steps(first, 17)
    offset, tree = first.stream.offset(end_chunk=False), first.get_checkpoint()
    assert len(_chunk_bytes(tmp_path / "s")) < sum(offset["rows"]) // 60 + 1
    record_steps(first, later, 17)
    dead = _killed(first, tmp_path / "dead")
    envs = CountingEnvs(LANES, MODE)
    envs.reset()
    stream = Stream.open(dead)
    stream.commit_rows = 60
    stream.truncate(offset)
    assert sum(offset["rows"]) == stream.rows
    second = Recorder(envs, stream)
    second.set_checkpoint({**tree, "envs": None})
    for _ in range(17):
        envs.step(np.zeros((LANES, 1), np.float32))
    record_steps(second, 43, 17)
    second.close()
    assert _chunk_bytes(dead) == _chunk_bytes(tmp_path / "whole")


def test_damaged_tail_is_named_set_aside_and_given_back(tmp_path):
    recorder = _record(tmp_path / "s", tail_interval=0.0)
    record_steps(recorder, 37)
    dead = _killed(recorder, tmp_path / "dead")
    committed = sum(int(c.rows.sum()) for c in recorder.stream.chunk_reader.chunks)
    data = bytearray((dead / TAIL_FILE).read_bytes())
    data[-3] ^= 1
    (dead / TAIL_FILE).write_bytes(data)
    report = validate_stream(dead)
    assert not report["ok"]
    assert any(TAIL_FILE in line for line in report["messages"])
    (dead / TAIL_FILE).write_bytes(data[:100])
    with pytest.raises(CorruptedFileError, match=f"{TAIL_FILE}.*--repair"):
        Stream.open(dead)
    assert validate_stream(dead, repair=True)["ok"]
    assert Stream.open(dead).rows == committed
    validate_stream(dead, undo=True)
    assert (dead / TAIL_FILE).read_bytes() == bytes(data[:100])


def test_tail_of_an_earlier_chunk_is_ignored_and_removed(tmp_path):
    recorder = _record(tmp_path / "s", tail_interval=0.0)
    record_steps(recorder, 5)
    tail = (tmp_path / "s" / TAIL_FILE).read_bytes()
    recorder.close()
    (tmp_path / "s" / TAIL_FILE).write_bytes(tail)  # killed between the chunk and the removal of the tail
    assert Stream.open(tmp_path / "s").rows == recorder.stream.rows
    stream = Stream.open(tmp_path / "s")
    stream.acquire()
    assert [p.name for p in sorted((tmp_path / "s").glob("*.safetensors"))] == [chunk_name(0)]
    stream.close()
