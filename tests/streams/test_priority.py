"""The law of priorities: drawn in proportion, new rows soon, other splits never, interrupted as uninterrupted."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, live

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Prioritized, Recorder, Stream


def recorded(path, steps=200) -> Recorder:
    recorder = Recorder.create(CountingEnvs(3, AutoresetMode.SAME_STEP, "vector"), path)
    recorder.reset()
    live(recorder, steps)
    return recorder


def judge_all(stream: Stream, sampler: Prioritized, split: str | None) -> dict[tuple[int, int], float]:
    """Draw until every row has come, judge each by its place, and tell the masses by (lane, position)."""
    random, masses = np.random.default_rng(0), {}
    for _ in range(200):
        window = stream.windows(300, 1, random, split=split, sampler=sampler)
        priority = 0.1 + (window.lane * 1000 + window.start) % 7
        sampler.update(window.lane, window.start, priority)
        masses |= {
            (int(i), int(p)): (q + 1e-3) ** 0.6 for i, p, q in zip(window.lane, window.start, priority)
        }
    return masses


@pytest.mark.parametrize("split", [None, "train"])
def test_rows_come_in_proportion_to_their_priority(tmp_path, split):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    masses = judge_all(stream, sampler, split)
    usable = stream.transitions if split is None else stream.counts[split]
    assert usable - 3 <= len(masses) <= usable  # of a lane's newest row nobody knows yet where it led
    random, drawn = np.random.default_rng(1), dict.fromkeys(masses, 0)
    for _ in range(100):
        window = stream.windows(500, 1, random, split=split, sampler=sampler)
        for key in zip(window.lane.tolist(), window.start.tolist()):
            drawn[key] += 1  # KeyError: a row of another split
    expected = np.array(list(masses.values())) / sum(masses.values()) * 50_000
    found = np.array(list(drawn.values()))
    assert np.mean((found - expected) ** 2 / expected) == pytest.approx(1, abs=0.3)  # as chance has it
    weights = sampler.weights(window.lane, window.start, 1.0)
    mass = np.array([masses[key] for key in zip(window.lane.tolist(), window.start.tolist())])
    np.testing.assert_allclose(weights, mass.min() / mass)


def test_rows_that_are_new_come_soon(tmp_path):
    recorder, sampler, random = recorded(tmp_path / "s"), Prioritized(1.0), np.random.default_rng(0)
    stream = recorder.stream
    for _ in range(100):
        window = stream.windows(200, 1, random, split=None, sampler=sampler)
        sampler.update(window.lane, window.start, np.full(200, 0.001))
    live(recorder, 20, 200)
    window = stream.windows(200, 1, random, split=None, sampler=sampler)
    assert (window.start >= 199).mean() > 0.9


def test_interrupted_is_uninterrupted(tmp_path):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    judge_all(stream, sampler, "train")
    save_tree(tmp_path / "tree", sampler.get_checkpoint())
    other = Prioritized()
    other.set_checkpoint(load_tree(tmp_path / "tree"))
    for one in (sampler, other):
        one.update(np.array([0]), np.array([int(stream.episodes("train")[0].start)]), np.array([50.0]))
    draws = [
        stream.windows(400, 2, np.random.default_rng(5), split="train", sampler=s) for s in (sampler, other)
    ]
    np.testing.assert_array_equal(draws[0].lane, draws[1].lane)
    np.testing.assert_array_equal(draws[0].start, draws[1].start)


def test_longer_windows_leave_out_what_has_no_room(tmp_path):
    stream, sampler = recorded(tmp_path / "s").stream, Prioritized()
    stream.windows(100, 1, np.random.default_rng(0), split=None, sampler=sampler)
    window = stream.windows(500, 50, np.random.default_rng(0), split=None, sampler=sampler)
    assert (window.start + 50 < stream.lengths[window.lane]).all()


@pytest.mark.parametrize(
    ("priority", "words"),
    [
        ([-1.0], r"a priority is -1\.0; expected finite numbers, 0 or more"),
        ([np.nan], "a priority is nan"),
        ([np.inf], "a priority is inf"),
        ([1.0, 2.0], r"shape \(2,\) for rows of shape \(1,\)"),
        ([], r"shape \(0,\) for rows of shape \(1,\)"),
    ],
)
def test_a_priority_that_is_none_is_refused(tmp_path, priority, words):
    stream, sampler = recorded(tmp_path / "s", 50).stream, Prioritized()
    window = stream.windows(1, 1, np.random.default_rng(0), split=None, sampler=sampler)
    with pytest.raises(UsageError, match=words):
        sampler.update(window.lane, window.start, np.array(priority))


def test_a_row_that_was_never_proposed_cannot_be_judged(tmp_path):
    with pytest.raises(UsageError, match="has not proposed"):
        Prioritized().update(np.array([0]), np.array([3]), np.array([1.0]))
    with pytest.raises(UsageError, match="expected 0 or more"):
        Prioritized(exponent=-1)
