"""LaneView: some lanes of a stream, with the rows, episodes and splits that they have in the stream."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps

from robossl.core.errors import UsageError
from robossl.streams import SPLITS, LaneView, Recorder, Stream


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A stream of five lanes in several chunks."""
    folder = tmp_path_factory.mktemp("lanes") / "stream"
    recorder = Recorder.create(CountingEnvs(5, AutoresetMode.SAME_STEP), folder)
    recorder.reset()
    for part in range(3):
        record_steps(recorder, 80, part * 80)
        recorder.stream.commit()
    recorder.close()
    return folder


def test_views_divide_the_stream(path):
    stream, first, rest = Stream.open(path), LaneView(path, 0, 3), LaneView(path, 3, 5)
    assert first.rows + rest.rows == stream.rows
    assert first.transitions + rest.transitions == stream.transitions
    assert {s: first.counts[s] + rest.counts[s] for s in SPLITS} == stream.counts
    for split in (None, *SPLITS):
        assert first.episodes(split) + rest.episodes(split) == stream.episodes(split)
    assert {episode.lane for episode in rest.episodes()} == {3, 4}


def test_windows_are_those_of_the_lanes(path):
    stream, view = Stream.open(path), LaneView(path, 1, 3)
    window = view.windows(200, 3, np.random.default_rng(0), split=None)
    assert set(window.lane.tolist()) == {1, 2}
    for lane, start, reward in zip(window.lane, window.start, window.reward):
        np.testing.assert_array_equal(reward, stream.read(int(lane), int(start), int(start) + 3)["reward"])


def test_view_of_all_lanes_samples_as_the_stream(path):
    draws = [s.windows(50, 2, np.random.default_rng(3)) for s in (Stream.open(path), LaneView(path, 0, 5))]
    np.testing.assert_array_equal(draws[0].lane, draws[1].lane)
    np.testing.assert_array_equal(draws[0].start, draws[1].start)


def test_view_cannot_be_written(path):
    view = LaneView(path, 0, 2)
    with pytest.raises(UsageError, match="open the stream itself"):
        view.acquire()
    with pytest.raises(UsageError, match="open the stream itself"):
        view.truncate(Stream.open(path).offset())


@pytest.mark.parametrize(("first", "stop"), [(-1, 2), (2, 2), (3, 6)])
def test_lanes_outside_the_stream_are_refused(path, first, stop):
    with pytest.raises(UsageError, match="expected lanes within the 5"):
        LaneView(path, first, stop)
