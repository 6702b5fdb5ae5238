"""The law of damage: a crash loses nothing committed, a broken chunk nothing but itself."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filesystem import mounted
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, check_law, live, rows_of

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.streams import SPLITS, CorruptedStreamError, Recorder, Stream, validate_stream

MODE = AutoresetMode.SAME_STEP
CHUNKS = 6


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A closed stream of six chunks."""
    recorder = Recorder.create(CountingEnvs(5, MODE), tmp_path / "s")
    recorder.reset()
    for part in range(CHUNKS):
        live(recorder, 13, 13 * part)
        recorder.stream.commit()
    recorder.stream.close()
    return tmp_path / "s"


def chunk(path: Path, number: int) -> Path:
    """The file of a chunk."""
    return path / f"chunk-{number:06d}.safetensors"


def cut_short(path: Path) -> None:
    """Lose the end of a file."""
    path.write_bytes(path.read_bytes()[:-100])


def cut_to_nothing(path: Path) -> None:
    """Lose all of it."""
    path.write_bytes(b"")


def break_header(path: Path) -> None:
    """Garble what the file says of itself."""
    data = bytearray(path.read_bytes())
    data[40:60] = b"x" * 20
    path.write_bytes(data)


def flip_byte(path: Path) -> None:
    """Change one bit of the data."""
    data = bytearray(path.read_bytes())
    data[-50] ^= 4
    path.write_bytes(data)


def take_for_another(path: Path) -> None:
    """Put another chunk of the stream in its place."""
    other = next(p for p in path.parent.glob("chunk-*") if p != path)
    shutil.copy(other, path)


def take_from_stranger(path: Path) -> None:
    """Put a chunk of another stream in its place."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path.parent.parent / "stranger", seed=9)
    recorder.reset()
    for part in range(CHUNKS):
        live(recorder, 13, 13 * part)
        recorder.stream.commit()
    shutil.copy(recorder.stream.path / path.name, path)


def take_from_twin(path: Path) -> None:
    """Put the chunk of a stream that has the same name but lived otherwise in its place."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path.parent.parent / "twin")
    recorder.reset()
    for part in range(CHUNKS):
        live(recorder, 9 if part == 0 else 13, 13 * part)
        recorder.stream.commit()
    shutil.copy(recorder.stream.path / path.name, path)


def remove(path: Path) -> None:
    """Lose it."""
    path.unlink()


def split_of_episodes(stream: Stream) -> dict[tuple[int, float], str]:
    """The split of every episode, by its lane and its own number."""
    return {
        (e.lane, float(stream.read(e.lane, e.start, e.start + 1)["observation"][0, 1])): split
        for split in SPLITS
        for e in stream.episodes(split)
    }


STRUCTURAL = [cut_short, cut_to_nothing, break_header, take_for_another, take_from_stranger, remove]


@pytest.mark.parametrize("damage", [*STRUCTURAL, flip_byte])
@pytest.mark.parametrize("number", [0, 2, CHUNKS - 1])
def test_a_damaged_chunk_is_named_set_aside_and_costs_its_rows_only(recorded, damage, number):
    whole = Stream.open(recorded)
    before = [rows_of(whole, lane) for lane in range(5)]
    sides = {
        (e.lane, float(before[e.lane]["observation"][e.start, 1])): s
        for s in SPLITS
        for e in whole.episodes(s)
    }
    sizes = [c.rows for c in whole.archive.chunks]
    begin, end = sum(sizes[:number], np.zeros(5, int)), sum(sizes[: number + 1])
    damage(chunk(recorded, number))

    if damage is not flip_byte:
        with pytest.raises(
            CorruptedStreamError, match=rf"{chunk(recorded, number).name}.*validate --repair {recorded}"
        ):
            Stream.open(recorded)
    found = validate_stream(recorded)
    assert not found["ok"]
    assert [d["chunk"] for d in found["damaged"]] == [number]
    assert found["damaged"][0]["rows"] == found["lost_rows"] == sizes[number].sum()
    assert found["lost_lanes"] == {str(lane): int(n) for lane, n in enumerate(sizes[number]) if n}
    assert any(chunk(recorded, number).name in line for line in found["words"])

    assert validate_stream(recorded, repair=True)["repaired"]
    assert validate_stream(recorded)["ok"]
    assert damage is remove or list(recorded.glob(f"damaged-{number:06d}*"))
    stream = Stream.open(recorded)
    assert stream.rows == whole.rows - sizes[number].sum()
    for lane in range(5):
        rows, cut = rows_of(stream, lane), begin[lane]
        for name in ("observation", "action", "reward", "physics"):
            kept = np.delete(before[lane][name], np.s_[cut : end[lane]], axis=0)
            assert np.array_equal(rows[name], kept, equal_nan=name == "physics"), name
        valid = np.flatnonzero(rows["valid"][:-1])
        seen = rows["observation"]
        assert np.array_equal(seen[valid + 1, 3], rows["action"][valid, 0]), "a transition crosses the gap"
        if 0 < cut < len(seen):
            assert rows["is_last"][cut - 1]
            assert not rows["valid"][cut - 1]
            assert rows["is_first"][cut]
    assert split_of_episodes(stream).items() <= sides.items(), "an episode changed sides"

    recorder = Recorder(CountingEnvs(5, MODE), stream)
    recorder.reset()
    live(recorder, 20)
    recorder.stream.close()
    again = Stream.open(recorded)
    assert np.array_equal(again.lengths, stream.lengths)
    assert again.episodes() == stream.episodes()
    assert again.counts == stream.counts
    assert validate_stream(recorded)["ok"]


def test_several_damaged_chunks_are_all_found(recorded):
    whole = Stream.open(recorded)
    sizes = [int(c.rows.sum()) for c in whole.archive.chunks]
    remove(chunk(recorded, 1))
    flip_byte(chunk(recorded, 2))
    cut_short(chunk(recorded, 4))
    found = validate_stream(recorded, repair=True)
    assert [d["chunk"] for d in found["damaged"]] == [1, 2, 4]
    assert found["lost_rows"] == sizes[1] + sizes[2] + sizes[4]
    assert Stream.open(recorded).rows == whole.rows - found["lost_rows"]


def test_a_whole_stream_is_said_to_be_whole(recorded):
    found = validate_stream(recorded)
    assert found["ok"]
    assert found["damaged"] == []
    assert (found["chunks"], found["rows"]) == (CHUNKS, Stream.open(recorded).rows)
    assert validate_stream(recorded, repair=True)["repaired"] is False
    with pytest.raises(UsageError, match="no stream in"):
        validate_stream(recorded / "nothing")


def test_repair_needs_the_right_to_write(recorded):
    remove(chunk(recorded, 1))
    (recorded / "writer.lock").touch()
    code = (
        "import fcntl, sys, time\nfile = open(sys.argv[1], 'r+')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", code, str(recorded / "writer.lock")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="already has a writer"):
            validate_stream(recorded, repair=True)
        writer.kill()
    assert validate_stream(recorded, repair=True)["repaired"]


def test_a_mark_before_a_lost_chunk_can_still_be_taken_up(recorded):
    recorder = Recorder(CountingEnvs(5, MODE), Stream.open(recorded))
    recorder.reset()
    live(recorder, 10)
    mark, lengths = recorder.stream.mark(), recorder.stream.lengths
    live(recorder, 20, 10)
    recorder.stream.close()
    flip_byte(chunk(recorded, 1))
    flip_byte(chunk(recorded, CHUNKS + 1))
    validate_stream(recorded, repair=True)
    stream = Stream.open(recorded)
    lost = 13 * 5
    stream.truncate(mark)
    assert lengths.sum() - stream.rows >= lost
    assert len(stream.header["lost"]) == 1


def test_a_link_out_of_the_folder_is_refused(recorded, tmp_path):
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.move(chunk(recorded, 3), elsewhere)
    chunk(recorded, 3).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="leads out of"):
        Stream.open(recorded)
    found = validate_stream(recorded, repair=True)
    assert [d["chunk"] for d in found["damaged"]] == [3]
    assert elsewhere.exists()
    Stream.open(recorded)


WRITER = """
import sys; sys.path.insert(0, sys.argv[1])
from stream_toys import CountingEnvs, live, MODES
from robossl.streams import Recorder
recorder = Recorder.create(CountingEnvs(5, MODES[0]), sys.argv[2])
recorder.stream.commit_rows = 60
recorder.reset()
for t in range(100_000):
    live(recorder, 1, t)
    print(int(recorder.stream.archive.rows.sum()), flush=True)
"""


@pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, 50))]
)
def test_a_killed_writer_loses_nothing_committed(tmp_path, seed):
    arguments = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path / "s")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.02, 0.6))
        writer.send_signal(signal.SIGKILL)
        said = [int(line) for line in writer.stdout.read().split("\n") if line.strip()]
    stream = Stream.open(tmp_path / "s")
    assert stream.rows >= (said[-1] if said else 0)
    check_law(stream)
    assert validate_stream(tmp_path / "s")["ok"]
    recorder = Recorder(CountingEnvs(5, AutoresetMode.NEXT_STEP), stream)
    recorder.reset()
    live(recorder, 20)
    recorder.close()
    assert not list((tmp_path / "s").glob(".chunk*"))
    assert validate_stream(tmp_path / "s")["ok"]


FULL = """
import resource, signal, sys; sys.path.insert(0, sys.argv[1])
from stream_toys import CountingEnvs, live, MODES
from robossl.core.errors import WorkError
from robossl.streams import Recorder
recorder = Recorder.create(CountingEnvs(5, MODES[0]), sys.argv[2])
recorder.reset()
live(recorder, 100)
recorder.stream.commit()
live(recorder, 100, 100)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
recorder.stream.commit_rows = recorder.stream.rows - int(recorder.stream.archive.rows.sum()) + 3
try:
    live(recorder, 1, 200)
except WorkError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
recorder.reset()  # room was made: nothing that was lived through is missing
live(recorder, 20, 300)
recorder.close()
"""


def test_a_file_that_cannot_grow_is_an_error_in_words(tmp_path):
    arguments = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path / "s")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert "cannot write" in done.stdout
    assert "File too large" in done.stdout
    stream = Stream.open(tmp_path / "s")
    assert validate_stream(tmp_path / "s")["ok"]
    for lane in range(5):
        rows = rows_of(stream, lane)
        seen, valid = rows["observation"], np.flatnonzero(rows["valid"][:-1])
        assert np.array_equal(seen[valid + 1, 3], rows["action"][valid, 0])
        taken = rows["action"][~rows["is_last"], 0]
        assert 1000 * lane + 199 in taken or 1000 * lane + 198 in taken
        assert 1000 * lane + 319 in taken or 1000 * lane + 318 in taken


def test_a_folder_that_may_only_be_read_can_be_read(recorded):
    """Read-only for everybody, root too: what is there is read and sampled, and writing is refused in a line."""
    if not mounted(recorded, "--bind", str(recorded)):
        pytest.skip("no right to mount here")
    try:
        if not mounted(recorded, "-o", "remount,ro,bind"):
            pytest.skip("no right to mount read-only here")
        stream = Stream.open(recorded)
        check_law(stream)
        assert validate_stream(recorded)["ok"]
        rows = {f.name: np.zeros((5, *f.shape), f.dtype) for f in stream.schema.fields}
        with pytest.raises(OperationError, match=r"cannot write to .*: Read-only file system"):
            stream.append({**rows, "is_first": np.ones(5, bool)})
        with pytest.raises(OperationError, match=r"cannot write to .*: Read-only file system"):
            validate_stream(recorded, repair=True)
        with pytest.raises((OperationError, UsageError), match=r"cannot .*: Read-only file system"):
            stream.like(recorded / "inside", 5)
        check_law(stream)
    finally:
        subprocess.run(["umount", "-l", str(recorded)], check=False)


@pytest.mark.parametrize("file", ["stream.json", "head.json"])
@pytest.mark.parametrize("spoil", [cut_to_nothing, cut_short, break_header])
def test_a_damaged_header_is_named_and_a_damaged_head_is_done_without(recorded, file, spoil):
    """`head.json` only tells a lost last chunk from none; without `stream.json` nobody knows what the rows are."""
    whole = Stream.open(recorded)
    spoil(recorded / file)
    if file == "head.json":
        assert Stream.open(recorded).rows == whole.rows
        assert validate_stream(recorded)["ok"]
    else:
        with pytest.raises(CorruptedFileError, match=r"stream\.json"):
            Stream.open(recorded)
        with pytest.raises(CorruptedFileError, match=r"stream\.json"):
            validate_stream(recorded, repair=True)
    assert len(list(recorded.glob("chunk-*"))) == CHUNKS


def test_a_full_disk_loses_nothing_committed(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted(disk, "-t", "tmpfs", "-o", "size=256k", "tmpfs"):
        pytest.skip("no right to mount a small disk here")
    try:
        recorder = Recorder.create(CountingEnvs(5, MODE), disk / "s")
        recorder.stream.commit_rows = 200
        recorder.reset()
        with pytest.raises(OperationError, match=r"cannot write .*No space left on device"):
            live(recorder, 5000)
        committed = int(recorder.stream.archive.rows.sum())
        stream = Stream.open(disk / "s")
        assert stream.rows == committed > 0
        check_law(stream)
        assert validate_stream(disk / "s")["ok"]
        del recorder, stream
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_chunk_of_a_stream_of_the_same_name_is_found_out(recorded):
    take_from_twin(chunk(recorded, 2))
    with pytest.raises(CorruptedStreamError, match=r"chunk-000002\.safetensors does not begin where"):
        Stream.open(recorded)
    found = validate_stream(recorded)
    assert [d["chunk"] for d in found["damaged"]] == [2]
    assert "does not begin where" in found["damaged"][0]["reason"]
    validate_stream(recorded, repair=True)
    assert len(Stream.open(recorded).archive.chunks) == CHUNKS - 1
