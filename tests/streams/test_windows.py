"""Windows: contiguous pieces of lanes, sampled uniformly, independent of commits and caching."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from stream_toys import AUTORESET_MODES, CountingEnvs, record_steps

from robossl.core.errors import UsageError
from robossl.streams import SPLITS, Recent, Recorder, Schema, Stream

NAMES = ("action", "reward", "terminated", "truncated", "valid")


def make_recorder(path, lanes=5, mode=AutoresetMode.SAME_STEP, steps=120, kind="vector", **facts):
    """Return a recorder whose stream has committed and uncommitted rows."""
    recorder = Recorder.create(CountingEnvs(lanes, mode, kind), path, **facts)
    recorder.reset()
    for part in range(3):
        record_steps(recorder, steps // 3, part * steps // 3)
        if part < 2:
            recorder.stream.commit()
    return recorder


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("cache_bytes", [0, 5_000, 1 << 30])
def test_windows_equal_the_rows_of_their_lane(tmp_path, mode, cache_bytes):
    make_recorder(tmp_path / "s", mode=mode).stream.close()
    stream = Stream.open(tmp_path / "s", cache_bytes=cache_bytes)
    window = stream.windows(300, 6, rng(), split=None, fields=["physics", "is_first", "action"])
    for b in range(300):
        lane, start = int(window.lane[b]), int(window.start[b])
        rows = stream.read(lane, start, start + 7)
        assert rows["valid"][0]
        assert np.array_equal(window.observation[b], rows["observation"])
        for name in NAMES:
            assert np.array_equal(getattr(window, name)[b], rows[name][:6]), name
        for name in ("physics", "is_first", "action"):
            assert np.array_equal(window.fields[name][b], rows[name], equal_nan=name == "physics")


def test_mask_ends_with_the_episode(tmp_path):
    stream = make_recorder(tmp_path / "s").stream
    window = stream.windows(300, 6, rng(), split=None)
    episode = window.observation[..., 1]
    assert np.array_equal(window.observation_mask, episode == episode[:, :1])
    assert np.array_equal(window.mask, window.observation_mask[:, 1:])
    assert window.mask[:, 0].all()
    assert not window.mask.all()


@pytest.mark.parametrize("split", [None, *SPLITS])
def test_start_rows_are_sampled_uniformly(tmp_path, split):
    stream = make_recorder(tmp_path / "s", lanes=3, steps=90).stream
    allowed = {
        (e.lane, t)
        for e in stream.episodes(split)
        for t in range(e.start, e.stop - 1 if e.ended else e.stop)
        if t + 4 < stream.lengths[e.lane]
    }
    window = stream.windows(200 * len(allowed), 4, rng(), split=split)
    starts, counts = np.unique(np.stack([window.lane, window.start]), axis=1, return_counts=True)
    assert {tuple(s) for s in starts.T.tolist()} == allowed
    chi_squared = ((counts - 200.0) ** 2 / 200.0).sum()  # len(allowed) - 1 degrees of freedom
    assert chi_squared < len(allowed) + 6 * np.sqrt(2 * len(allowed))


def test_sampling_depends_only_on_rows_and_rng(tmp_path):
    """Not on commits, the cache, earlier reads or the reading process."""
    one, two = (
        make_recorder(tmp_path / "one"),
        Recorder.create(CountingEnvs(5, AutoresetMode.SAME_STEP), tmp_path / "two"),
    )
    two.reset()
    for t in range(120):
        record_steps(two, 1, t)
        if t > 20 and t % 7 == 0:
            two.stream.windows(3, 2, rng(t), split=None)
    assert np.array_equal(one.stream.lengths, two.stream.lengths)
    uncached = make_recorder(tmp_path / "three", kind="vector").stream
    uncached._cache._max_bytes = 0
    expected = one.stream.windows(64, 5, rng(3))
    one.stream.commit()
    uncached.commit()
    reader = Stream.open(tmp_path / "one")
    for stream in (one.stream, two.stream, uncached, reader):
        window = stream.windows(64, 5, rng(3))
        for name in ("observation", *NAMES):
            assert np.array_equal(getattr(window, name), getattr(expected, name)), name
    assert not np.array_equal(reader.windows(64, 5, rng(4)).start, expected.start)


def test_uncommitted_rows_are_sampled(tmp_path):
    recorder = Recorder.create(CountingEnvs(1, AutoresetMode.NEXT_STEP), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 3)
    stream = recorder.stream
    assert not list(stream.path.glob("chunk-*"))
    assert set(stream.windows(50, 1, rng(), split=None).start.tolist()) == {0, 1, 2}
    record_steps(recorder, 40, 3)
    assert stream.windows(500, 1, rng(), split=None).start.max() > 30


def test_images_are_not_cached(tmp_path):
    stream = make_recorder(tmp_path / "s", kind="image", steps=60).stream
    window = stream.windows(200, 5, rng(), split=None)
    camera, joints = window.observation["camera"], window.observation["body"]["joints"]
    assert camera.shape == (200, 6, 8, 6, 3)
    expected = (joints[..., 2] + 50 * joints[..., 0]).astype(np.int64) % 256
    assert np.array_equal(camera[..., 0, 0, 0], expected)
    assert "observation.camera" not in stream._cache.cached_fields
    assert "observation.body.joints" in stream._cache.cached_fields


def test_cache_stays_within_its_limit(tmp_path):
    stream = make_recorder(tmp_path / "s").stream
    stream.commit()
    limited = Stream.open(tmp_path / "s", cache_bytes=stream.rows * 8 + 1)
    limited.windows(4, 2, rng())
    assert 0 < len(limited._cache.cached_fields) < 3
    assert limited._cache._cached_bytes() <= limited._cache_bytes
    for t in range(3):
        stream.append({**{f.name: np.zeros((5, *f.shape), f.dtype) for f in stream.schema.fields},
                       "is_first": np.ones(5, bool), "valid": np.ones(5, bool)})  # fmt: skip
        stream.commit()
        limited.refresh()
        assert limited._cache._cached_bytes() <= limited._cache_bytes, t
    for lane in range(5):
        one, other = stream.read(lane, 0, stream.lengths[lane]), limited.read(lane, 0, limited.lengths[lane])
        assert all(np.array_equal(one[n], other[n], equal_nan=one[n].dtype.kind == "f") for n in one)


def test_recent_sampler_prefers_new_rows(tmp_path):
    stream = make_recorder(tmp_path / "s", steps=300).stream
    window = stream.windows(4000, 2, rng(), split=None, sampler=Recent(half_life=30))
    age = stream.lengths[window.lane] - window.start
    assert 0.45 < (age < 33).mean() < 0.6
    assert stream.windows(4000, 2, rng(), split=None).start.mean() < window.start.mean() - 30


def test_a_single_valid_row_is_found(tmp_path):
    """One valid row among thousands: rejection sampling alone would not find it."""
    schema = Schema.from_spaces(Box(-1, 1, (2,), np.float32), Box(-1, 1, (1,), np.float32))
    with Stream.create(tmp_path / "s", schema, 1) as stream:
        for t in range(5000):
            row = {f.name: np.zeros((1, *f.shape), f.dtype) for f in schema.fields}
            row["is_first"][:], row["valid"][:] = t == 0, t == 4321
            stream.append(row)
        assert set(stream.windows(20, 3, rng(), split=None).start.tolist()) == {4321}


@pytest.mark.parametrize(
    ("batch", "length", "split", "fields", "message"),
    [
        (4, 500, None, None, "needs 501 rows of a lane, the longest has"),
        (0, 4, None, None, "of at least 1, got"),
        (4, 0, None, None, "of at least 1, got"),
        (4, 4, "trian", None, "no 'trian' among the splits; did you mean 'train'"),
        (4, 4, None, ["physic"], "no 'physic' among the fields; did you mean 'physics'"),
    ],
)
def test_invalid_window_requests_raise(tmp_path, batch, length, split, fields, message):
    stream = make_recorder(tmp_path / "s").stream
    with pytest.raises(UsageError, match=message):
        stream.windows(batch, length, rng(), split=split, fields=fields)


def test_empty_split_raises_with_available_transitions(tmp_path):
    recorder = Recorder.create(CountingEnvs(1, AutoresetMode.SAME_STEP), tmp_path / "s")
    with pytest.raises(UsageError, match="the stream is empty"):
        recorder.stream.windows(1, 1, rng())
    recorder.reset()
    record_steps(recorder, 2)
    empty = next(s for s in SPLITS if recorder.stream.counts[s] == 0)
    with pytest.raises(UsageError, match=f"in split '{empty}'; available transitions: train"):
        recorder.stream.windows(1, 1, rng(), split=empty)


def test_read_checks_its_arguments(tmp_path):
    stream = make_recorder(tmp_path / "s").stream
    end = int(stream.lengths[0])
    assert stream.read(0, end, end)["observation"].shape == (0, 4)
    with pytest.raises(UsageError, match="expected a lane from 0 to 4, got 7"):
        stream.read(7, 0, 1)
    with pytest.raises(UsageError, match="of lane 0, got 0 to 99999"):
        stream.read(0, 0, 99999)
    with pytest.raises(UsageError, match="no 'rewards'"):
        stream.read(0, 0, 1, ["rewards"])
