"""Mixed sampling: a fraction of the windows begins in the newest rows of some lanes, in random order."""

from __future__ import annotations

import numpy as np

from robossl.core.seeding import generator
from robossl.streams.sampling import LaneRange, Mixed, Uniform

LIMITS = np.array([1000, 0, 400, 50, 30])


def test_newest_rows_of_a_lane_range_end_at_its_last_row():
    lane, position = LaneRange(2, 2, newest=100).propose(generator(0, "test"), 4000, LIMITS)
    assert set(np.unique(lane)) == {2, 3}
    assert (position[lane == 2].min(), position[lane == 2].max()) == (300, 399)
    assert (position[lane == 3].min(), position[lane == 3].max()) == (0, 49), "a short lane is new as a whole"
    assert abs((lane == 2).mean() - 2 / 3) < 0.03


def test_fraction_comes_from_the_first_sampler_in_any_prefix():
    sampler = Mixed(0.25, LaneRange(4, 1), LaneRange(0, 1))
    lane, position = sampler.propose(generator(0, "test"), 8000, LIMITS)
    assert len(lane) == len(position) == 8000
    for prefix in (lane, lane[:2000], lane[-2000:]):
        assert abs((prefix == 4).mean() - 0.25) < 0.03


def test_sampler_without_rows_leaves_its_fraction_out():
    lane, _ = Mixed(0.5, LaneRange(1, 1, newest=10), Uniform()).propose(generator(0, "test"), 1000, LIMITS)
    assert 400 < len(lane) < 600
    assert 1 not in lane


def test_proposals_depend_on_the_generator_alone():
    sampler = Mixed(0.5, LaneRange(2, 3, newest=20), Uniform())
    first, second = (sampler.propose(generator(3, "test"), 500, LIMITS) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
