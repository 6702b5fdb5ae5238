"""Rows appended one by one: collected in blocks, they give the same stream as rows that are added at once."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.streams import Stream
from robossl.streams.schema import FLAGS, Schema

LANES = 3


def new_stream(path, blocks=True):
    """Return an empty stream, with blocks of new rows or without them."""
    schema = Schema.from_spaces(Box(-9, 9, (2,), np.float32), Box(-1, 1, (1,), np.float32))
    stream = Stream.create(path, schema, LANES, split_id="0" * 16)
    stream.commit_rows = 60
    if not blocks:
        stream._new_rows._capacity = 0
    return stream


def row(count, value=0.0, **flags):
    """Return one row for each of `count` lanes."""
    rows = {name: np.full(count, name == "valid") for name in FLAGS}
    rows |= {"observation": np.full((count, 2), value, np.float32), "reward": np.zeros(count, np.float32)}
    return rows | {"action": np.zeros((count, 1), np.float32)} | flags


def append_random_rows(stream, rng, steps):
    """Append rows of random lanes; some episodes end, and some break off."""
    is_open = np.zeros(LANES, bool)
    for step in range(steps):
        lanes = np.flatnonzero(rng.random(LANES) < 0.8)
        ends = is_open[lanes] & (rng.random(len(lanes)) < 0.15)
        begins = ~is_open[lanes] | (~ends & (rng.random(len(lanes)) < 0.03))
        stream.append(row(len(lanes), step % 9, is_first=begins, is_last=ends, valid=~ends), lanes)
        is_open[lanes] = ~ends
        if rng.random() < 0.1:
            yield stream


@pytest.mark.parametrize("seed", range(3))
def test_blocks_do_not_change_the_stream(tmp_path, seed):
    streams = [new_stream(tmp_path / f"{blocks}", blocks) for blocks in (True, False)]
    rngs = [generator(seed, "rows") for _ in streams]
    for one, other in zip(*map(append_random_rows, streams, rngs, (150, 150)), strict=True):
        assert one.transitions == other.transitions
        assert one.counts == other.counts
        assert one.episodes() == other.episodes()
        for lane, length in enumerate(one.lengths.tolist()):
            rows, expected = (s.read(lane, 0, length) for s in (one, other))
            assert all(np.array_equal(rows[name], expected[name]) for name in expected)
    for stream in streams:
        stream.close()
    files = [sorted((tmp_path / name).glob("chunk-*")) for name in ("True", "False")]
    assert len(files[0]) == len(files[1]) > 3
    ids = [stream.id.encode() for stream in streams]
    for one, other in zip(*files):
        assert one.read_bytes().replace(ids[0], b"") == other.read_bytes().replace(ids[1], b"")


@pytest.mark.parametrize("lane", [-1, LANES])
def test_a_lane_that_does_not_exist_is_refused_and_the_block_is_kept(tmp_path, lane):
    stream = new_stream(tmp_path / "s")
    first = np.ones(1, bool)
    stream.append(row(1, is_first=first), [0])
    with pytest.raises(UsageError, match=rf"expected lanes from 0 to 2, got {lane}"):
        stream.append(row(1, is_first=first), [lane])
    stream.close()
    assert Stream.open(tmp_path / "s").lengths.tolist() == [1, 0, 0]


def test_refresh_of_a_writer_changes_no_row_and_no_split(tmp_path):
    stream = new_stream(tmp_path / "s")
    every = np.ones(LANES, bool)
    for episode in range(4):
        stream.append(row(LANES, is_first=every))
        stream.append(row(LANES, is_last=every, valid=~every))
        if episode == 1:
            stream.refresh()
    stream.close()
    saved = Stream.open(tmp_path / "s")
    assert (saved.episodes(), saved.counts) == (stream.episodes(), stream.counts)


def test_rows_of_a_block_are_copies(tmp_path):
    stream = new_stream(tmp_path / "s")
    rows = row(LANES, 1.0, is_first=np.ones(LANES, bool))
    stream.append(rows)
    rows["observation"][:] = 7
    assert (stream.read(0, 0, 1)["observation"] == 1).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (row(LANES), "no running episode"),
        (row(LANES) | {"reward": np.zeros(LANES, complex)}, "as float32, got complex128"),
        (row(LANES) | {"observation": np.zeros((LANES, 3), np.float32)}, "of shape"),
        (row(LANES) | {"more": np.zeros(LANES)}, "no 'more' among the fields"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_the_block_is_kept(tmp_path, rows, message):
    stream = new_stream(tmp_path / "s")
    last = np.ones(LANES, bool)
    stream.append(row(LANES, is_first=last))
    stream.append(row(LANES, is_last=last, valid=~last))
    with pytest.raises(UsageError, match=message):
        stream.append(rows)
    assert stream.lengths.tolist() == [2] * LANES
    stream.append(row(LANES, 3.0, is_first=last))
    assert len(stream.episodes()) == 2 * LANES
