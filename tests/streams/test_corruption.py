"""Damage to streams: a crash loses nothing committed, a damaged chunk loses only its own rows."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from capabilities import require
from filesystem import mounted
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, check_alignment, record_steps, rows_of

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.streams import SPLITS, CorruptedStreamError, Recorder, Stream, validate_stream

MODE = AutoresetMode.SAME_STEP
CHUNKS = 6


@pytest.fixture
def recorded(tmp_path) -> Path:
    """Return the folder of a closed stream of six chunks."""
    recorder = Recorder.create(CountingEnvs(5, MODE), tmp_path / "s")
    recorder.reset()
    for part in range(CHUNKS):
        record_steps(recorder, 13, 13 * part)
        recorder.stream.commit()
    recorder.stream.close()
    return tmp_path / "s"


def chunk(path: Path, number: int) -> Path:
    """Return the file of a chunk."""
    return path / f"chunk-{number:06d}.safetensors"


def truncate_file(path: Path) -> None:
    """Remove the end of a file."""
    path.write_bytes(path.read_bytes()[:-100])


def empty_file(path: Path) -> None:
    """Remove the content of a file."""
    path.write_bytes(b"")


def garble_header(path: Path) -> None:
    """Overwrite part of the header."""
    data = bytearray(path.read_bytes())
    data[40:60] = b"x" * 20
    path.write_bytes(data)


def flip_byte(path: Path) -> None:
    """Change one bit of the data."""
    data = bytearray(path.read_bytes())
    data[-50] ^= 4
    path.write_bytes(data)


def replace_by_other_chunk(path: Path) -> None:
    """Replace the file by another chunk of the stream."""
    other = next(p for p in path.parent.glob("chunk-*") if p != path)
    shutil.copy(other, path)


def replace_by_other_stream(path: Path) -> None:
    """Replace the file by a chunk of another stream."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path.parent.parent / "other", seed=9)
    recorder.reset()
    for part in range(CHUNKS):
        record_steps(recorder, 13, 13 * part)
        recorder.stream.commit()
    shutil.copy(recorder.stream.path / path.name, path)


def replace_by_same_id(path: Path) -> None:
    """Replace the file by a chunk of a stream with the same id and other rows."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path.parent.parent / "twin")
    recorder.reset()
    for part in range(CHUNKS):
        record_steps(recorder, 9 if part == 0 else 13, 13 * part)
        recorder.stream.commit()
    shutil.copy(recorder.stream.path / path.name, path)


def remove(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def split_of_episodes(stream: Stream) -> dict[tuple[int, float], str]:
    """Return the split of every episode by lane and episode number."""
    return {
        (e.lane, float(stream.read(e.lane, e.start, e.start + 1)["observation"][0, 1])): split
        for split in SPLITS
        for e in stream.episodes(split)
    }


STRUCTURAL_DAMAGE = [
    truncate_file,
    empty_file,
    garble_header,
    replace_by_other_chunk,
    replace_by_other_stream,
    remove,
]


@pytest.mark.parametrize("damage", [*STRUCTURAL_DAMAGE, flip_byte])
@pytest.mark.parametrize("number", [0, 2, CHUNKS - 1])
def test_damaged_chunk_is_reported_and_repair_loses_only_its_rows(recorded, damage, number):
    original = Stream.open(recorded)
    before = [rows_of(original, lane) for lane in range(5)]
    splits_before = {
        (e.lane, float(before[e.lane]["observation"][e.start, 1])): s
        for s in SPLITS
        for e in original.episodes(s)
    }
    sizes = [c.rows for c in original.chunk_reader.chunks]
    begin, end = sum(sizes[:number], np.zeros(5, int)), sum(sizes[: number + 1])
    damage(chunk(recorded, number))

    if damage is not flip_byte:
        with pytest.raises(
            CorruptedStreamError, match=rf"{chunk(recorded, number).name}.*validate --repair {recorded}"
        ):
            Stream.open(recorded)
    report = validate_stream(recorded)
    assert not report["ok"]
    assert [d["chunk"] for d in report["damaged"]] == [number]
    assert report["damaged"][0]["rows"] == report["lost_rows"] == sizes[number].sum()
    assert report["lost_lanes"] == {str(lane): int(n) for lane, n in enumerate(sizes[number]) if n}
    assert any(chunk(recorded, number).name in line for line in report["messages"])

    assert validate_stream(recorded, repair=True)["repaired"]
    assert validate_stream(recorded)["ok"]
    assert damage is remove or list(recorded.glob(f"damaged-{number:06d}*"))
    stream = Stream.open(recorded)
    assert stream.rows == original.rows - sizes[number].sum()
    for lane in range(5):
        rows, first_lost = rows_of(stream, lane), begin[lane]
        for name in ("observation", "action", "reward", "physics"):
            kept = np.delete(before[lane][name], np.s_[first_lost : end[lane]], axis=0)
            assert np.array_equal(rows[name], kept, equal_nan=name == "physics"), name
        valid = np.flatnonzero(rows["valid"][:-1])
        observations = rows["observation"]
        assert np.array_equal(observations[valid + 1, 3], rows["action"][valid, 0]), (
            "a transition crosses the gap"
        )
        if 0 < first_lost < len(observations):
            assert rows["is_last"][first_lost - 1]
            assert not rows["valid"][first_lost - 1]
            assert rows["is_first"][first_lost]
    assert split_of_episodes(stream).items() <= splits_before.items(), "an episode changed its split"

    recorder = Recorder(CountingEnvs(5, MODE), stream)
    recorder.reset()
    record_steps(recorder, 20)
    recorder.stream.close()
    reopened = Stream.open(recorded)
    assert np.array_equal(reopened.lengths, stream.lengths)
    assert reopened.episodes() == stream.episodes()
    assert reopened.counts == stream.counts
    assert validate_stream(recorded)["ok"]


def test_every_damaged_chunk_is_reported(recorded):
    original = Stream.open(recorded)
    sizes = [int(c.rows.sum()) for c in original.chunk_reader.chunks]
    remove(chunk(recorded, 1))
    flip_byte(chunk(recorded, 2))
    truncate_file(chunk(recorded, 4))
    report = validate_stream(recorded, repair=True)
    assert [d["chunk"] for d in report["damaged"]] == [1, 2, 4]
    assert report["lost_rows"] == sizes[1] + sizes[2] + sizes[4]
    assert Stream.open(recorded).rows == original.rows - report["lost_rows"]


def test_intact_stream_is_valid(recorded):
    report = validate_stream(recorded)
    assert report["ok"]
    assert report["damaged"] == []
    assert (report["chunks"], report["rows"]) == (CHUNKS, Stream.open(recorded).rows)
    assert validate_stream(recorded, repair=True)["repaired"] is False
    with pytest.raises(UsageError, match="no stream in"):
        validate_stream(recorded / "nothing")


def test_repair_requires_the_writer_lock(recorded):
    remove(chunk(recorded, 1))
    (recorded / "writer.lock").touch()
    code = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(recorded / "writer.lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="already has a writer"):
            validate_stream(recorded, repair=True)
        writer.kill()
    assert validate_stream(recorded, repair=True)["repaired"]


def test_offset_before_a_lost_chunk_stays_valid(recorded):
    recorder = Recorder(CountingEnvs(5, MODE), Stream.open(recorded))
    recorder.reset()
    record_steps(recorder, 10)
    offset, lengths = recorder.stream.offset(), recorder.stream.lengths
    record_steps(recorder, 20, 10)
    recorder.stream.close()
    flip_byte(chunk(recorded, 1))
    flip_byte(chunk(recorded, CHUNKS + 1))
    validate_stream(recorded, repair=True)
    stream = Stream.open(recorded)
    lost = 13 * 5
    stream.truncate(offset)
    assert lengths.sum() - stream.rows >= lost
    assert len(stream.header["lost_chunks"]) == 1


def test_chunk_linked_outside_the_folder_raises(recorded, tmp_path):
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.move(chunk(recorded, 3), elsewhere)
    chunk(recorded, 3).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="leads out of"):
        Stream.open(recorded)
    report = validate_stream(recorded, repair=True)
    assert [d["chunk"] for d in report["damaged"]] == [3]
    assert elsewhere.exists()
    Stream.open(recorded)


WRITER_PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
from stream_toys import AUTORESET_MODES, CountingEnvs, record_steps
from robossl.streams import Recorder
recorder = Recorder.create(CountingEnvs(5, AUTORESET_MODES[0]), sys.argv[2])
recorder.stream.commit_rows = 60
recorder.reset()
for t in range(100_000):
    record_steps(recorder, 1, t)
    print(int(recorder.stream.chunk_reader.rows.sum()), flush=True)
"""


@pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, 50))]
)
def test_killed_writer_loses_no_committed_row(tmp_path, seed):
    arguments = [sys.executable, "-c", WRITER_PROGRAM, str(Path(__file__).parent), str(tmp_path / "s")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(random.Random(seed).randrange(1, 300)):  # the writer goes on while these are read
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        committed_rows = [int(line) for line in writer.stdout.read().split("\n") if line.strip()]
    stream = Stream.open(tmp_path / "s")
    assert stream.rows >= (committed_rows[-1] if committed_rows else 0)
    check_alignment(stream)
    assert validate_stream(tmp_path / "s")["ok"]
    recorder = Recorder(CountingEnvs(5, AutoresetMode.NEXT_STEP), stream)
    recorder.reset()
    record_steps(recorder, 20)
    recorder.close()
    assert not list((tmp_path / "s").glob(".chunk*"))
    assert validate_stream(tmp_path / "s")["ok"]


FULL_DISK_PROGRAM = """
import resource, signal, sys; sys.path.insert(0, sys.argv[1])
from stream_toys import AUTORESET_MODES, CountingEnvs, record_steps
from robossl.core.errors import OperationError
from robossl.streams import Recorder
recorder = Recorder.create(CountingEnvs(5, AUTORESET_MODES[0]), sys.argv[2])
recorder.reset()
record_steps(recorder, 100)
recorder.stream.commit()
record_steps(recorder, 100, 100)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
recorder.stream.commit_rows = recorder.stream.rows - int(recorder.stream.chunk_reader.rows.sum()) + 3
try:
    record_steps(recorder, 1, 200)
except OperationError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
recorder.reset()  # after space was freed, no recorded step is missing
record_steps(recorder, 20, 300)
recorder.close()
"""


def test_file_size_limit_raises_and_recording_can_continue(tmp_path):
    arguments = [sys.executable, "-c", FULL_DISK_PROGRAM, str(Path(__file__).parent), str(tmp_path / "s")]
    completed = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert "cannot write" in completed.stdout
    assert "File too large" in completed.stdout
    stream = Stream.open(tmp_path / "s")
    assert validate_stream(tmp_path / "s")["ok"]
    for lane in range(5):
        rows = rows_of(stream, lane)
        observations, valid = rows["observation"], np.flatnonzero(rows["valid"][:-1])
        assert np.array_equal(observations[valid + 1, 3], rows["action"][valid, 0])
        taken = rows["action"][~rows["is_last"], 0]
        assert 1000 * lane + 199 in taken or 1000 * lane + 198 in taken
        assert 1000 * lane + 319 in taken or 1000 * lane + 318 in taken


def test_read_only_folder_can_be_read_and_writing_raises(recorded):
    """Read-only for root too: rows are read and sampled, writing raises an error of one line."""
    require(mounted(recorded, "--bind", str(recorded)), "permission to mount")
    try:
        require(mounted(recorded, "-o", "remount,ro,bind"), "permission to mount read-only")
        stream = Stream.open(recorded)
        check_alignment(stream)
        assert validate_stream(recorded)["ok"]
        rows = {f.name: np.zeros((5, *f.shape), f.dtype) for f in stream.schema.fields}
        with pytest.raises(OperationError, match=r"cannot write to .*: Read-only file system"):
            stream.append({**rows, "is_first": np.ones(5, bool)})
        with pytest.raises(OperationError, match=r"cannot write to .*: Read-only file system"):
            validate_stream(recorded, repair=True)
        with pytest.raises((OperationError, UsageError), match=r"cannot .*: Read-only file system"):
            stream.create_like(recorded / "inside", 5)
        check_alignment(stream)
    finally:
        subprocess.run(["umount", "-l", str(recorded)], check=False)


@pytest.mark.parametrize("file", ["stream.json", "head.json"])
@pytest.mark.parametrize("damage", [empty_file, truncate_file, garble_header])
def test_damaged_header_and_damaged_head_file_are_named(recorded, file, damage):
    """`head.json` detects a missing last chunk and can be written again; `stream.json` describes the rows."""
    original = Stream.open(recorded)
    damage(recorded / file)
    if file == "head.json":
        with pytest.raises(CorruptedFileError, match=r"head\.json"):
            Stream.open(recorded)
        report = validate_stream(recorded)
        assert not report["ok"]
        assert "head.json" in "\n".join(report["messages"])
        assert validate_stream(recorded, repair=True)["ok"]
        assert Stream.open(recorded).rows == original.rows
        assert validate_stream(recorded)["ok"]
    else:
        with pytest.raises(CorruptedFileError, match=r"stream\.json"):
            Stream.open(recorded)
        with pytest.raises(CorruptedFileError, match=r"stream\.json"):
            validate_stream(recorded, repair=True)
    assert len(list(recorded.glob("chunk-*"))) == CHUNKS


def test_full_disk_loses_no_committed_row(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    require(mounted(disk, "-t", "tmpfs", "-o", "size=256k", "tmpfs"), "permission to mount a small disk")
    try:
        recorder = Recorder.create(CountingEnvs(5, MODE), disk / "s")
        recorder.stream.commit_rows = 200
        recorder.reset()
        with pytest.raises(OperationError, match=r"cannot write .*No space left on device"):
            record_steps(recorder, 5000)
        committed = int(recorder.stream.chunk_reader.rows.sum())
        stream = Stream.open(disk / "s")
        assert stream.rows == committed > 0
        check_alignment(stream)
        assert validate_stream(disk / "s")["ok"]
        del recorder, stream
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_chunk_of_a_stream_with_the_same_id_is_detected(recorded):
    replace_by_same_id(chunk(recorded, 2))
    with pytest.raises(CorruptedStreamError, match=r"chunk-000002\.safetensors does not begin where"):
        Stream.open(recorded)
    report = validate_stream(recorded)
    assert [d["chunk"] for d in report["damaged"]] == [2]
    assert "does not begin where" in report["damaged"][0]["reason"]
    validate_stream(recorded, repair=True)
    assert len(Stream.open(recorded).chunk_reader.chunks) == CHUNKS - 1
