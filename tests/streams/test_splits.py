"""Splits: disjoint, balanced, and unchanged while the stream grows."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps

from robossl.core.errors import CorruptedFileError
from robossl.streams import SPLITS, Recorder, Stream
from robossl.streams.splits import Splits

MODE = AutoresetMode.SAME_STEP


def make_recorder(path, steps=150):
    """Return a recorder of five lanes."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path)
    recorder.reset()
    record_steps(recorder, steps)
    return recorder


def test_ten_episodes_split_seven_one_one_one():
    table = Splits("0123").of(np.arange(5000)).reshape(-1, 10)
    for split, count in enumerate((7, 1, 1, 1)):
        assert ((table == split).sum(axis=1) == count).all()
    shares = np.stack([(table == split).mean(axis=0) for split in range(4)])  # by place in the block
    assert np.abs(shares - np.array([[0.7], [0.1], [0.1], [0.1]])).max() < 0.09


def test_splits_depend_on_the_stream_id_only():
    one, other = Splits("a").of(np.arange(1000)), Splits("b").of(np.arange(1000))
    assert (one != other).mean() > 0.2
    late = Splits("a")
    assert [int(late.of(np.array([k]))[0]) for k in (999, 3, 500)] == [int(one[k]) for k in (999, 3, 500)]


@pytest.mark.parametrize("stream", ["a", "0123", "f00d", "7", "stream 5"])
def test_few_episodes_have_train_episodes(stream):
    splits = Splits(stream)
    assert splits.of(np.arange(1)).tolist() == [0]
    assert np.bincount(splits.of(np.arange(10)), minlength=4).tolist() == [7, 1, 1, 1]


def test_each_episode_belongs_to_exactly_one_split(tmp_path):
    stream = make_recorder(tmp_path / "s").stream
    episodes = stream.episodes()
    episodes_by_split = [set(stream.episodes(split)) for split in SPLITS]
    assert sum(len(part) for part in episodes_by_split) == len(episodes)
    assert set.union(*episodes_by_split) == set(episodes)
    assert len({e.ordinal for e in episodes}) == len(episodes)
    for e in episodes:
        same_lane = [o for o in episodes if o.lane == e.lane and o.start < e.start]
        assert e.ordinal == len(same_lane) * 5 + e.lane
    assert sum(e.stop - e.start for e in episodes) == stream.rows


@pytest.mark.parametrize("split", SPLITS)
def test_windows_begin_in_episodes_of_their_split(tmp_path, split):
    stream = make_recorder(tmp_path / "s").stream
    rows_of_split = {(e.lane, t) for e in stream.episodes(split) for t in range(e.start, e.stop)}
    window = stream.windows(500, 3, np.random.default_rng(0), split=split)
    assert {(lane, t) for lane, t in zip(window.lane.tolist(), window.start.tolist())} <= rows_of_split


def test_growing_changes_no_split(tmp_path):
    recorder = make_recorder(tmp_path / "s", 60)
    before = {s: {e.ordinal for e in recorder.stream.episodes(s)} for s in SPLITS}
    record_steps(recorder, 200, 60)
    recorder.close()
    after = {s: {e.ordinal for e in Stream.open(tmp_path / "s").episodes(s)} for s in SPLITS}
    for split in SPLITS:
        assert before[split] <= after[split]


def test_counts_match_the_episodes(tmp_path):
    recorder = make_recorder(tmp_path / "s")
    recorder.close()
    for stream in (recorder.stream, Stream.open(tmp_path / "s")):
        assert stream.counts == {s: sum(e.stop - e.start - 1 for e in stream.episodes(s)) for s in SPLITS}
        assert stream.transitions == sum(stream.counts.values())


@pytest.mark.parametrize("stream", ["a", "0123", "f00d", "7", "stream 5"])
def test_lanes_that_are_recorded_later_leave_no_split_without_an_episode(stream):
    """24 episodes in the first 8 of 16 lanes: numbered over all lanes, a split may have none of them."""
    ordinals = (np.arange(3)[:, None] * 16 + np.arange(8)).ravel()
    splits = Splits(stream, 16, [8, 8])
    first = splits.of(ordinals)
    assert np.bincount(first, minlength=4).min() >= 2
    later = splits.of(ordinals + 8)
    assert np.bincount(later, minlength=4).min() >= 2
    assert np.array_equal(splits.of(np.concatenate([ordinals, ordinals + 8])), [*first, *later])
    assert splits.of(np.array([0])).tolist() == splits.of(np.array([8])).tolist() == [0]
    assert np.bincount(splits.of(np.arange(7)), minlength=4).tolist() == [4, 1, 1, 1]


def test_groups_of_lanes_are_kept_by_the_header(tmp_path):
    recorder = Recorder.create(CountingEnvs(5, MODE), tmp_path / "s", lanes=7, lane_groups=[5, 2])
    recorder.reset()
    record_steps(recorder, 60)
    recorder.finish()
    stream = Stream.open(tmp_path / "s")
    assert stream.counts == recorder.stream.counts
    assert sum(len(stream.episodes(split)) for split in SPLITS) == len(stream.episodes())
    assert stream.create_like(tmp_path / "t", 3).header.get("lane_groups") is None
    with pytest.raises(CorruptedFileError, match="lane_groups"):
        Stream.create(tmp_path / "u", stream.schema, 7, lane_groups=[5, 3])
