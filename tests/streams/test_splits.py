"""The law of splits: disjoint, balanced, and never changed by growing."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, live

from robossl.streams import SPLITS, Recorder, Stream
from robossl.streams.splits import Splits

MODE = AutoresetMode.SAME_STEP


def grown(path, steps=150):
    """A stream of five lanes."""
    recorder = Recorder.create(CountingEnvs(5, MODE), path)
    recorder.reset()
    live(recorder, steps)
    return recorder


def test_every_ten_episodes_serve_seven_one_one_one():
    table = Splits("0123").of(np.arange(5000)).reshape(-1, 10)
    for split, count in enumerate((7, 1, 1, 1)):
        assert ((table == split).sum(axis=1) == count).all()
    shares = np.stack([(table == split).mean(axis=0) for split in range(4)])  # by place in the block
    assert np.abs(shares - np.array([[0.7], [0.1], [0.1], [0.1]])).max() < 0.09


def test_another_stream_has_other_splits_and_the_same_one_the_same():
    one, other = Splits("a").of(np.arange(1000)), Splits("b").of(np.arange(1000))
    assert (one != other).mean() > 0.2
    late = Splits("a")
    assert [int(late.of(np.array([k]))[0]) for k in (999, 3, 500)] == [int(one[k]) for k in (999, 3, 500)]


def test_an_episode_belongs_to_one_split(tmp_path):
    stream = grown(tmp_path / "s").stream
    everything = stream.episodes()
    parts = [set(stream.episodes(split)) for split in SPLITS]
    assert sum(len(part) for part in parts) == len(everything)
    assert set.union(*parts) == set(everything)
    assert len({e.ordinal for e in everything}) == len(everything)
    for e in everything:
        same_lane = [o for o in everything if o.lane == e.lane and o.start < e.start]
        assert e.ordinal == len(same_lane) * 5 + e.lane
    assert sum(e.stop - e.start for e in everything) == stream.rows


@pytest.mark.parametrize("split", SPLITS)
def test_windows_begin_in_episodes_of_their_split(tmp_path, split):
    stream = grown(tmp_path / "s").stream
    own = {(e.lane, t) for e in stream.episodes(split) for t in range(e.start, e.stop)}
    window = stream.windows(500, 3, np.random.default_rng(0), split=split)
    assert {(lane, t) for lane, t in zip(window.lane.tolist(), window.start.tolist())} <= own


def test_growing_moves_no_episode(tmp_path):
    recorder = grown(tmp_path / "s", 60)
    before = {s: {e.ordinal for e in recorder.stream.episodes(s)} for s in SPLITS}
    live(recorder, 200, 60)
    recorder.close()
    after = {s: {e.ordinal for e in Stream.open(tmp_path / "s").episodes(s)} for s in SPLITS}
    for split in SPLITS:
        assert before[split] <= after[split]


def test_counts_are_what_the_episodes_say(tmp_path):
    recorder = grown(tmp_path / "s")
    recorder.close()
    for stream in (recorder.stream, Stream.open(tmp_path / "s")):
        assert stream.counts == {s: sum(e.stop - e.start - 1 for e in stream.episodes(s)) for s in SPLITS}
        assert stream.transitions == sum(stream.counts.values())
