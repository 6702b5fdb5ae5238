"""State coverage: known answers on points, and the states that are read from a stream."""

from __future__ import annotations

import numpy as np
import pytest

import robossl
from robossl.core.errors import UsageError
from robossl.evaluation.metrics.coverage import coverage_growth, sample_states, state_coverage


def test_stream_that_visits_half_of_the_cells_has_half_the_coverage():
    random = np.random.default_rng(0)
    whole = random.uniform(0, 1, (50_000, 2))
    half = whole * [0.5, 1.0]
    covered = state_coverage({"whole": whole, "half": half})
    assert covered["whole"] == pytest.approx(1.0, abs=0.01)
    assert covered["half"] == pytest.approx(0.5, abs=0.06)


def test_identical_streams_cover_everything():
    states = np.random.default_rng(0).normal(size=(1000, 5))
    assert state_coverage({"a": states, "b": states.copy()}) == {"a": 1.0, "b": 1.0}


def test_unit_of_a_quantity_and_constant_quantities_do_not_matter():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 5000, 3)) * np.array([[[1.0]], [[0.4]]])
    plain = state_coverage({"first": first, "second": second})
    assert plain["second"] < 0.5 * plain["first"]
    scaled = [np.concatenate([s * [1e3, 1e-3, 1] + 7, np.full((5000, 1), 3.0)], 1) for s in (first, second)]
    assert state_coverage(dict(zip(("first", "second"), scaled))) == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"a": np.zeros((5, 2)), "b": np.zeros((4, 2))}, "expected the same number of states"),
        ({"a": np.zeros((5, 2)), "b": np.zeros((5, 2))}, "expected states that vary"),
    ],
)
def test_states_that_cannot_be_compared_are_refused(states, message):
    with pytest.raises(UsageError, match=message):
        state_coverage(states)


def test_colored_noise_covers_more_of_a_maze_than_white_noise(tmp_path):
    states = {
        policy: sample_states(
            robossl.collect("robossl/PointMaze-v0", policy, 6000, tmp_path / policy, num_envs=16, threads=1),
            5000,
            fields=("position", "velocity"),
        )
        for policy in ("random", "colored_noise")
    }
    assert states["random"].shape == (5000, 4)
    covered = state_coverage(states)
    assert covered["colored_noise"] > 1.3 * covered["random"]


def test_observations_are_read_where_there_is_no_privileged_state(tmp_path):
    stream = robossl.collect("Pendulum-v1", "random", 300, tmp_path / "stream", num_envs=2)
    assert sample_states(stream, 100).shape == (100, 3)
    with pytest.raises(UsageError, match="got 'angle'; available: none"):
        sample_states(stream, 100, fields=("angle",))


def test_stream_that_goes_on_to_new_states_is_below_its_random_order(tmp_path):
    stream = robossl.collect(
        "robossl/PointMaze-v0", "colored_noise", 3000, tmp_path / "s", num_envs=8, threads=1
    )
    found = coverage_growth(stream, count=4000)
    assert found["steps"][-1] == stream.transitions
    assert found["cells"] == sorted(found["cells"])
    assert found["cells"][-1] == found["cells_any_order"][-1]
    assert found["cells"][0] <= found["cells_any_order"][0]
