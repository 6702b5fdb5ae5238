"""Prioritized sampling: proportional to priority, new rows soon, no other splits, resumable."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Prioritized, Recorder, Stream


def recorded(path, steps=200) -> Recorder:
    recorder = Recorder.create(CountingEnvs(3, AutoresetMode.SAME_STEP, "vector"), path)
    recorder.reset()
    record_steps(recorder, steps)
    return recorder


def prioritize_all(stream: Stream, sampler: Prioritized, split: str | None) -> dict[tuple[int, int], float]:
    """Sample until every row was drawn, set priorities by position, and return the masses by (lane, position)."""
    random, mass_by_row = np.random.default_rng(0), {}
    for _ in range(200):
        window = stream.windows(300, 1, random, split=split, sampler=sampler)
        priority = 0.1 + (window.lane * 1000 + window.start) % 7
        sampler.update(window.lane, window.start, priority)
        mass_by_row |= {
            (int(i), int(p)): (q + 1e-3) ** 0.6 for i, p, q in zip(window.lane, window.start, priority)
        }
    return mass_by_row


@pytest.mark.parametrize("split", [None, "train"])
def test_rows_are_sampled_in_proportion_to_priority(tmp_path, split):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    mass_by_row = prioritize_all(stream, sampler, split)
    usable = stream.transitions if split is None else stream.counts[split]
    assert usable - 3 <= len(mass_by_row) <= usable  # the newest row of a lane has no next row yet
    random, draws_by_row = np.random.default_rng(1), dict.fromkeys(mass_by_row, 0)
    for _ in range(100):
        window = stream.windows(500, 1, random, split=split, sampler=sampler)
        for key in zip(window.lane.tolist(), window.start.tolist()):
            draws_by_row[key] += 1  # KeyError: a row of another split
    expected = np.array(list(mass_by_row.values())) / sum(mass_by_row.values()) * 50_000
    counts_drawn = np.array(list(draws_by_row.values()))
    chi_squared = np.mean((counts_drawn - expected) ** 2 / expected)  # per degree of freedom
    assert chi_squared == pytest.approx(1, abs=0.3)
    weights = sampler.weights(window.lane, window.start, 1.0)
    mass = np.array([mass_by_row[key] for key in zip(window.lane.tolist(), window.start.tolist())])
    np.testing.assert_allclose(weights, mass.min() / mass)


def test_new_rows_are_sampled_soon(tmp_path):
    recorder, sampler, random = recorded(tmp_path / "s"), Prioritized(1.0), np.random.default_rng(0)
    stream = recorder.stream
    for _ in range(100):
        window = stream.windows(200, 1, random, split=None, sampler=sampler)
        sampler.update(window.lane, window.start, np.full(200, 0.001))
    record_steps(recorder, 20, 200)
    window = stream.windows(200, 1, random, split=None, sampler=sampler)
    assert (window.start >= 199).mean() > 0.9


def test_resumed_sampler_equals_uninterrupted_one(tmp_path):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    prioritize_all(stream, sampler, "train")
    save_tree(tmp_path / "tree", sampler.get_checkpoint())
    other = Prioritized()
    other.set_checkpoint(load_tree(tmp_path / "tree"))
    for each in (sampler, other):
        each.update(np.array([0]), np.array([int(stream.episodes("train")[0].start)]), np.array([50.0]))
    windows = [
        stream.windows(400, 2, np.random.default_rng(5), split="train", sampler=s) for s in (sampler, other)
    ]
    np.testing.assert_array_equal(windows[0].lane, windows[1].lane)
    np.testing.assert_array_equal(windows[0].start, windows[1].start)


def test_rows_of_other_splits_get_zero_priority(tmp_path):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    mass_by_row = prioritize_all(stream, sampler, "train")
    tree = sampler.get_checkpoint()
    assert {tuple(row) for row in tree["rows"][tree["mass"] > 0].tolist()} == set(mass_by_row)


def test_long_windows_stay_within_their_lane(tmp_path):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    stream.windows(100, 1, np.random.default_rng(0), split=None, sampler=sampler)
    window = stream.windows(500, 50, np.random.default_rng(0), split=None, sampler=sampler)
    assert (window.start + 50 < stream.lengths[window.lane]).all()


@pytest.mark.parametrize(
    ("priority", "message"),
    [
        ([-1.0], r"expected finite priorities of 0 or more, got -1\.0"),
        ([np.nan], "got nan"),
        ([np.inf], "got inf"),
        ([1.0, 2.0], r"shape \(1,\), .* got \(2,\)"),
        ([], r"shape \(1,\), .* got \(0,\)"),
    ],
)
def test_invalid_priority_raises(tmp_path, priority, message):
    stream, sampler = recorded(tmp_path / "s", 50).stream, Prioritized()
    window = stream.windows(1, 1, np.random.default_rng(0), split=None, sampler=sampler)
    with pytest.raises(UsageError, match=message):
        sampler.update(window.lane, window.start, np.array(priority))


def test_priority_of_an_unproposed_row_raises(tmp_path):
    with pytest.raises(UsageError, match="expected rows that this sampler has proposed"):
        Prioritized().update(np.array([0]), np.array([3]), np.array([1.0]))
    with pytest.raises(UsageError, match="expected an exponent of 0 or more"):
        Prioritized(exponent=-1)
