"""Hostile and damaged streams: flipped bits are named, nothing hangs, repairs keep what is sound."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.core.io import map_tensors, write_json, write_tensors
from robossl.core.small_files import read_json
from robossl.core.tensor_file import read_header
from robossl.streams import Recorder, Stream, validate_stream
from robossl.streams.schema import FLAGS
from robossl.streams.splits import SPLITS, Splits
from robossl.streams.storage.chunk_file import LANE_ARRAYS, chunk_name

CHUNKS = 4


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A stream of four chunks."""
    folder = tmp_path_factory.mktemp("sound") / "s"
    recorder = Recorder.create(CountingEnvs(5, AutoresetMode.NEXT_STEP), folder, seed=3)
    recorder.stream.commit_rows = 100
    recorder.reset()
    record_steps(recorder, 80)
    recorder.close()
    assert len(list(folder.glob("chunk-*"))) >= CHUNKS
    return folder


@pytest.fixture
def stream(sound, tmp_path) -> Path:
    """A copy of the stream."""
    return Path(shutil.copytree(sound, tmp_path / "s"))


def refusal(folder: Path) -> str:
    """Return the line with which opening or validating fails; empty if both accept the stream."""
    try:
        Stream.open(folder)
    except (CorruptedFileError, UsageError) as error:
        return str(error)
    try:
        report = validate_stream(folder)
    except (CorruptedFileError, UsageError) as error:
        return str(error)
    return "" if report["ok"] else "\n".join(report["messages"])


def data_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors"))


def test_every_flipped_bit_is_named(stream) -> None:
    source = random.Random(0)
    for path in data_files(stream):
        original = path.read_bytes()
        for _ in range(50):
            bit = source.randrange(8 * len(original))
            flipped = bytearray(original)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert path.name in refusal(stream), (path.name, bit)
        path.write_bytes(original)
    assert refusal(stream) == ""


def test_flipped_bit_of_lanes_and_flags_is_named_at_opening(stream) -> None:
    path = stream / chunk_name(1)
    with open(path, "rb") as file:
        entries = read_header(path, file).entries
    data = path.read_bytes()
    for name in (*LANE_ARRAYS, *FLAGS):
        for bit in range(0, 64, 5):
            flipped = bytearray(data)
            flipped[entries[name].begin + bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(CorruptedFileError, match=path.name):
                Stream.open(stream)


@pytest.mark.parametrize("file", ["stream.json", "head.json", chunk_name(0), chunk_name(3)])
def test_truncated_replaced_or_missing_file_is_named(file, stream) -> None:
    path = stream / file
    original = path.read_bytes()
    for damaged in (b"", original[: len(original) // 2], original + b" ", b"\0" * len(original), b"{}", None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert file in refusal(stream)
        path.write_bytes(original)


@pytest.mark.parametrize("file", ["stream.json", "head.json", chunk_name(0)])
@pytest.mark.parametrize("kind", ["fifo", "zero", "memory", "folder", "outside", "cycle"])
def test_what_is_no_regular_file_of_the_stream_is_refused(file, kind, stream, tmp_path) -> None:
    path = stream / file
    if kind == "outside":
        path.rename(tmp_path / "elsewhere")
    else:
        path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(
            {
                "zero": "/dev/zero",
                "memory": "/proc/self/mem",
                "outside": tmp_path / "elsewhere",
                "cycle": path,
            }[kind]
        )
    assert refusal(stream)
    assert "Traceback" not in refusal(stream)


HEADERS = {
    "lanes": [0, -1, 2**40, 1.5, True, "5", None],
    "id": ["", "x" * 16, "A" * 16, 5, None, "\x1b[31m", "../../../x"],
    "format": [None, "2", True, 2.0],
    "env": [5, [], {}],
    "seed": ["1", 0.5, []],
    "policy": [{}, 1],
    "env_kwargs": [[], "x", 1],
    "lost_chunks": [None, {}, [{}], [1], [{"chunk": -1}], [{"chunk": "0", "rows": None}],
                    [{"chunk": 0, "rows": [1]}], [{"chunk": 2**62, "rows": None}],
                    [{"chunk": 0, "rows": None}] * 2, [{"chunk": 0, "rows": [2**62] * 5}]],
    "fields": [None, [], [{}], "x", [1], {}],
    "observation_space": [None, {}, [], {"type": "Box"}, {"type": "x"},
                          {"type": "Box", "shape": [10**9, 10**9], "low": 0, "high": 1, "dtype": "float32"},
                          {"type": "Box", "shape": [-1], "low": 0, "high": 1, "dtype": "float32"},
                          {"type": "Box", "shape": [2], "low": 0, "high": 1, "dtype": "object"},
                          {"type": "Discrete", "n": 2**70, "start": 0}, {"type": "MultiBinary", "n": 10**12}],
    "action_space": [None, 5],
}  # fmt: skip


@pytest.mark.parametrize("key", HEADERS)
def test_header_with_a_wrong_entry_is_refused_in_one_line(key, stream) -> None:
    header = read_json(stream / "stream.json")
    for value in HEADERS[key]:
        write_json(stream / "stream.json", {**header, key: value}, checksum=True)
        with pytest.raises((CorruptedFileError, UsageError)) as error:
            Stream.open(stream)
        assert str(error.value).isprintable()


FIELDS = {
    "dtype": ["bkol", "object", "O", "float128", 5, "<U8", "datetime64[s]"],
    "shape": [[-4], [2**60], ["a"], 3, None, [1.5], [1] * 40, [True]],
    "role": ["x", None],
    "name": [None, 5, "reward", "a\nb"],
    "unit": [None, []],
}


@pytest.mark.parametrize("key", FIELDS)
def test_field_with_a_wrong_entry_is_refused_in_one_line(key, stream) -> None:
    header = read_json(stream / "stream.json")
    for value in FIELDS[key]:
        first, *rest = header["fields"]
        write_json(
            stream / "stream.json", {**header, "fields": [{**first, key: value}, *rest]}, checksum=True
        )
        with pytest.raises((CorruptedFileError, UsageError)) as error:
            Stream.open(stream)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"chunks": 2**62}, {"chunks": -1}, {"chunks": 1.0}, {"chunks": None}, {"rows": []}, {"rows": [2**63] * 5},
        {"rows": [-1] * 5}, {"rows": ["1"] * 5}, {"rows": None},
    ],
    ids=str,
)  # fmt: skip
def test_head_with_a_wrong_entry_is_refused_in_one_line(change, stream) -> None:
    head = read_json(stream / "head.json")
    write_json(stream / "head.json", {**head, **change}, checksum=True)
    with pytest.raises(CorruptedFileError, match=r"head\.json"):
        Stream.open(stream)


def rewrite_chunk(folder: Path, number: int, **changes: np.ndarray) -> None:
    """Replace arrays of a chunk, with correct checksums."""
    path = folder / chunk_name(number)
    arrays, metadata = map_tensors(path)
    arrays = {name: np.array(array) for name, array in arrays.items()} | changes
    checksum = 0
    for name in (*LANE_ARRAYS, *FLAGS):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), checksum)
    kept = {key: metadata[key] for key in ("stream", "chunk")}
    write_tensors(path, arrays, {**kept, "index_crc32": f"{checksum:08x}"})


@pytest.mark.parametrize("name", LANE_ARRAYS)
@pytest.mark.parametrize("value", [2**40, 2**47, 2**62, 2**63 - 1, -1])
def test_huge_count_in_a_chunk_is_refused_at_once(name, value, stream) -> None:
    arrays, _ = map_tensors(stream / chunk_name(1))
    counts = np.array(arrays[name])
    counts[0] = value
    rewrite_chunk(stream, 1, **{name: counts})
    with pytest.raises(CorruptedFileError, match=chunk_name(1)):
        Stream.open(stream)
    assert not validate_stream(stream)["ok"]


def test_huge_count_after_a_gap_neither_hangs_nor_allocates(stream) -> None:
    """After a lost chunk the counts cannot be compared with the rows before it."""
    (stream / chunk_name(1)).unlink()
    validate_stream(stream, repair=True)
    header = read_json(stream / "stream.json")
    write_json(stream / "stream.json", {**header, "lost_chunks": [{"chunk": 1, "rows": None}]}, checksum=True)
    arrays, _ = map_tensors(stream / chunk_name(2))
    huge = np.full_like(arrays["lanes.start"], 2**44)
    rewrite_chunk(stream, 2, **{"lanes.start": huge, "lanes.episodes": huge})
    code = (
        "import resource, sys; from robossl.streams import Stream\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "try: Stream.open(sys.argv[1])\nexcept Exception as error: print(error)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(stream)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") <= 1


def test_flag_bytes_other_than_0_and_1_are_refused(stream) -> None:
    for name in FLAGS:
        arrays, _ = map_tensors(stream / chunk_name(0))
        original = (stream / chunk_name(0)).read_bytes()
        bad = np.array(arrays[name]).view(np.uint8)
        bad[-1] = 255
        rewrite_chunk(stream, 0, **{name: bad.view(bool)})
        with pytest.raises(CorruptedFileError, match=name):
            Stream.open(stream)
        (stream / chunk_name(0)).write_bytes(original)


def test_splits_far_beyond_the_table_are_those_of_the_table() -> None:
    ordinals = np.array([2_000_003, 17, 1_999_999, 2**50])
    sparse = Splits("a").of(ordinals)
    assert sparse[1] == Splits("a").of(np.arange(20))[17]
    blocks = Splits("a").of(np.arange(2_000_000, 2_000_010))
    assert sorted(np.bincount(blocks, minlength=len(SPLITS))) == [1, 1, 1, 7]
    assert blocks[3] == sparse[0]


# --- repair


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.name != "writer.lock"}


@pytest.mark.parametrize("seed", range(6))
def test_repair_corrects_a_header_with_one_wrong_byte(seed, stream, sound) -> None:
    """No chunk is set aside because of a damaged header."""
    path, source = stream / "stream.json", random.Random(seed)
    data = bytearray(path.read_bytes())
    if seed < 5:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    else:
        data[data.index(b'"id": "') + 7] = ord("z")
    path.write_bytes(data)
    report = validate_stream(stream, repair=True)
    assert report["ok"]
    assert path.read_bytes() == (sound / "stream.json").read_bytes()
    assert names(stream) == names(sound) | {"damaged-stream.json"}
    assert validate_stream(stream)["ok"]


def test_repair_of_a_header_beyond_correction_changes_nothing(stream) -> None:
    path = stream / "stream.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 3', b'"tree": 4'))
    before = {p.name: p.read_bytes() for p in stream.iterdir()}
    with pytest.raises(CorruptedFileError, match=r"stream\.json is damaged"):
        validate_stream(stream, repair=True)
    assert {n: (stream / n).read_bytes() for n in names(stream)} == {
        n: before[n] for n in before if n != "writer.lock"
    }


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\0" * 50])
def test_damaged_head_is_an_error_until_it_is_repaired(damage, stream, sound) -> None:
    path = stream / "head.json"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(OperationError, match=r"head\.json"):
        Stream.open(stream)
    report = validate_stream(stream)
    assert not report["ok"]
    assert any("head.json" in message for message in report["messages"])
    assert validate_stream(stream, repair=True)["ok"]
    assert path.read_bytes() == (sound / "head.json").read_bytes()
    assert Stream.open(stream).rows == Stream.open(sound).rows


@pytest.mark.parametrize("count", [1, 2])
def test_missing_last_chunk_is_named(count, stream) -> None:
    last = sorted(stream.glob("chunk-*"))[-count:]
    for path in last:
        path.unlink()
    assert last[0].name in refusal(stream)
    assert [d["file"] for d in validate_stream(stream)["damaged"]] == [p.name for p in last]


def test_new_stream_has_a_head(tmp_path, sound) -> None:
    with Stream.open(sound).create_like(tmp_path / "new", 3) as stream:
        assert read_json(stream.path / "head.json", checksum=True) == {"chunks": 0, "rows": [0, 0, 0]}
    assert validate_stream(tmp_path / "new")["ok"]


def test_undo_gives_every_file_back(stream, sound) -> None:
    for number in (0, 2):
        data = bytearray((stream / chunk_name(number)).read_bytes())
        data[-1] ^= 1
        (stream / chunk_name(number)).write_bytes(data)
    before = {name: (stream / name).read_bytes() for name in names(stream)}
    report = validate_stream(stream, repair=True)
    assert report["repaired"]
    assert "damaged-000002.safetensors" in names(stream)
    assert not validate_stream(stream, undo=True)["ok"]
    assert {name: (stream / name).read_bytes() for name in names(stream)} == before
    assert validate_stream(stream, repair=True)["rows"] == report["rows"]


def test_chunk_number_far_away_is_refused_at_once(stream) -> None:
    shutil.copy(stream / chunk_name(0), stream / chunk_name(999_999_999))
    with pytest.raises(CorruptedFileError):
        Stream.open(stream)
    with pytest.raises(CorruptedFileError, match="chunks expected"):
        validate_stream(stream)


def test_json_files_of_a_stream_have_a_checksum(stream) -> None:
    for path in stream.glob("*.json"):
        assert "crc32" in json.loads(path.read_text())
