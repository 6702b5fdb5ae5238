"""Shards are one stream: what is read from them is what their collectors wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import AUTORESET_MODES, CountingEnvs, length_of

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import write_json
from robossl.core.seeding import generator
from robossl.core.small_files import read_json
from robossl.streams import CorruptedStreamError, Recorder, Shards, Stream, describe_stream, validate_stream
from robossl.streams.block_stream import BlockStream
from robossl.streams.shards import SHARDS, shard_folder, write_shards

LANES = 3


def write_block(
    folder: Path, steps: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **settings: Any
) -> None:
    """Record a block of `steps` or more steps of each lane, and some steps more."""
    envs = CountingEnvs(LANES, mode, **settings)
    if not folder.exists():
        shard = int(folder.name[-1])
        created = Recorder.create(envs, folder, seed=shard, shard=shard)
        assert created.stream is not None
        created.stream.close()
    stream = BlockStream(folder)
    recorder = Recorder(envs, stream)
    recorder.reset(seed=0)
    for _ in range(4 * steps):
        if mode is AutoresetMode.DISABLED and not recorder._rows.in_episode.all():
            recorder.reset(options={"reset_mask": ~recorder._rows.in_episode})
        recorder.step(np.zeros((LANES, 1), np.float32))
    recorder.finish()
    stream.commit_block(steps)
    stream.release()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Folder of two shards with two blocks each."""
    write_shards(tmp_path, 2, {"seed": 5})
    for shard in (0, 1):
        for steps in (9, 20 + shard):
            write_block(shard_folder(tmp_path, shard), steps)
    return tmp_path


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_block_has_the_whole_episodes_that_begin_before_its_steps(
    tmp_path: Path, mode: AutoresetMode
) -> None:
    write_block(tmp_path / "shard-0", 9, mode)
    with Stream.open(tmp_path / "shard-0") as stream:
        assert len(stream.chunk_reader.chunks) == 1
        for lane in range(LANES):
            lengths, number = [], 0
            while sum(lengths) < 9:
                lengths.append(length_of(lane, number))
                number += 1
            episodes = [e for e in stream.episodes() if e.lane == lane]
            assert [e.stop - e.start - 1 for e in episodes] == lengths
            assert all(e.ended for e in episodes)


def test_process_that_dies_in_a_block_leaves_none_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "shard-0"
    write_block(folder, 9)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stream = BlockStream(folder)
    recorder = Recorder(CountingEnvs(LANES, AutoresetMode.NEXT_STEP), stream)
    recorder.reset(seed=0)
    for _ in range(500):
        recorder.step(np.zeros((LANES, 1), np.float32))
    stream.release()
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "writer.lock"} == {
        name: data for name, data in before.items() if name != "writer.lock"
    }


def test_lanes_of_all_shards_are_those_of_their_streams(shards: Path) -> None:
    whole = Stream.open(shards)
    assert isinstance(whole, Shards)
    parts = [Stream.open(shard_folder(shards, shard)) for shard in (0, 1)]
    assert whole.lanes == 2 * LANES
    assert whole.transitions == sum(part.transitions for part in parts)
    assert whole.lengths.tolist() == [*parts[0].lengths, *parts[1].lengths]
    for lane in range(whole.lanes):
        part, own = parts[lane // LANES], lane % LANES
        read, expected = (s.read(i, 0, int(whole.lengths[lane])) for s, i in ((whole, lane), (part, own)))
        assert read.keys() == expected.keys()
        assert all(np.array_equal(read[name], expected[name]) for name in expected)
        spans = [(e.start, e.stop) for e in whole.episodes() if e.lane == lane]
        assert spans == [(e.start, e.stop) for e in part.episodes() if e.lane == own]


def test_windows_of_shards_are_rows_of_their_lanes(shards: Path) -> None:
    whole = Stream.open(shards)
    window = whole.windows(64, 3, generator(0, "windows"), split=None)
    assert set(window.lane.tolist()) == set(range(whole.lanes))
    for index, (lane, start) in enumerate(zip(window.lane.tolist(), window.start.tolist())):
        rows = whole.read(lane, start, start + 4)
        assert np.array_equal(window.observation[index], rows["observation"])
        assert np.array_equal(window.reward[index], rows["reward"][:3])


def test_refresh_adds_the_blocks_of_running_collectors(shards: Path) -> None:
    whole = Stream.open(shards)
    whole.windows(8, 2, generator(0, "windows"), split=None)  # fields are cached now
    before = whole.lengths
    write_block(shard_folder(shards, 1), 12)
    whole.refresh()
    again = Stream.open(shards)
    assert (whole.lengths[LANES:] > before[LANES:]).all()
    assert np.array_equal(whole.lengths, again.lengths)
    assert whole.counts == again.counts
    one, other = (s.windows(32, 2, generator(1, "windows"), split=None) for s in (whole, again))
    assert np.array_equal(one.observation, other.observation)


def test_shards_have_all_splits_and_a_summary(shards: Path) -> None:
    whole = Stream.open(shards)
    assert sum(len(whole.episodes(split)) for split in whole.counts) == len(whole.episodes())
    summary = describe_stream(shards)
    assert (summary["lanes"], summary["seed"], summary["chunks"]) == (2 * LANES, 5, 4)
    assert validate_stream(shards)["ok"]


def test_shards_cannot_be_written(shards: Path) -> None:
    whole = Stream.open(shards)
    row = {name: values[:1] for name, values in whole.read(0, 0, 1).items()}
    for write in (lambda: whole.append(row, np.array([0])), lambda: whole.extend(row, 0), whole.acquire):
        with pytest.raises(UsageError, match="collect --resume"):
            write()


def test_missing_shard_is_named(shards: Path) -> None:
    shard_folder(shards, 1).rename(shards / "away")
    with pytest.raises(CorruptedStreamError, match=r"is incomplete: expected a stream in shard-1, got none"):
        Stream.open(shards)


def test_renamed_shards_are_named(shards: Path) -> None:
    """Their collectors would go on with each other's seeds."""
    for old, new in (("shard-0", "away"), ("shard-1", "shard-0"), ("away", "shard-1")):
        (shards / old).rename(shards / new)
    with pytest.raises(CorruptedStreamError, match="expected shard 0 in shard-0, got shard 1"):
        Stream.open(shards)


def test_damaged_chunk_is_named_and_can_be_set_aside(shards: Path) -> None:
    path = shard_folder(shards, 1) / "chunk-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptedFileError, match=r"shard-1: .*chunk-000001.* --repair") as error:
        Stream.open(shards)
    assert "\n" not in str(error.value)
    rows = Stream.open(shard_folder(shards, 0)).rows
    assert not validate_stream(shards)["ok"]
    validate_stream(shards, repair=True)
    repaired = Stream.open(shards)
    assert rows < repaired.rows < 2 * rows
    repaired.refresh()
    assert rows < repaired.rows < 2 * rows


def test_damaged_head_is_named_with_what_repairs_it(shards: Path) -> None:
    whole = Stream.open(shards)
    path = shard_folder(shards, 1) / "head.json"
    path.write_bytes(path.read_bytes()[:-3])
    for read in (whole.refresh, lambda: Stream.open(shards)):
        with pytest.raises(CorruptedStreamError, match=r"shard-1: .*head.json.* --repair") as error:
            read()
        assert str(error.value).count("--repair") == 1
    validate_stream(shards, repair=True)
    whole.refresh()
    assert whole.rows == Stream.open(shards).rows


def test_damaged_list_of_shards_is_named(shards: Path) -> None:
    write_json(shards / SHARDS, {**read_json(shards / SHARDS), "shards": 0}, checksum=True)
    with pytest.raises(CorruptedFileError, match="shards: expected 1 to"):
        Stream.open(shards)


def test_shards_of_other_observations_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, {})
    write_block(shard_folder(tmp_path, 0), 9)
    write_block(shard_folder(tmp_path, 1), 9, kind="goal")
    with pytest.raises(UsageError, match=r"expected shards of the same observations .*shard-1"):
        Stream.open(tmp_path)
