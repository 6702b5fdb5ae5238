"""What is known beforehand must come out: constants at chance, truth at one, shuffled actions worse."""

import json

import numpy as np
import pytest
from evaluation_toys import ConstantModel, MixedModel, PerfectChooser, PerfectModel, StillModel, ToyStream

from robossl.core.errors import UsageError
from robossl.core.statistics import dead_dimensions, effective_rank
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import calibration
from robossl.evaluation.metrics.inverse_dynamics import inverse_accuracy, inverse_excess_r2, inverse_r2
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.evaluation.metrics.probes import probe_r2


@pytest.fixture(scope="module")
def stream():
    return ToyStream()


@pytest.mark.parametrize("model", [PerfectModel(), MixedModel()], ids=["plain", "mixed"])
def test_a_perfect_model_is_found_perfect(stream, model):
    held = load_heldout(model, stream)
    found = prediction_skill(model, held)
    assert list(found["skill"]) == ["1", "5", "10", "25", "50"]
    for horizon, figure in found["skill"].items():
        assert figure["mean"] > 0.999
        assert figure["low"] <= figure["mean"] <= figure["high"]
        assert found["ceiling"][horizon] == pytest.approx(figure["mean"], abs=1e-3)
        assert found["linear"][horizon] > 0.99  # this world is linear
        assert found["shuffled"][horizon] < figure["mean"] - 0.3
    assert inverse_r2(model, held)["mean"] > 0.999
    assert inverse_excess_r2(model, held) > 0.9
    assert all(row["r2"] > 0.999 and row["delta"] > 0.99 for row in probe_r2(held).values())
    time = valid_prediction_time(model, held, step_seconds=0.1)
    assert time["censored"] == 1.0
    assert time["median"] == time["horizon"] == pytest.approx(0.1 * len(time_steps(time)))
    assert time["nothing_moves"] < 0.5 * time["median"]
    assert effective_rank(held.test_z) > 3


def time_steps(time):
    return range(round(time["horizon"] / 0.1))


def test_a_constant_encoder_is_at_chance(stream):
    model = ConstantModel()
    held = load_heldout(model, stream)
    found = prediction_skill(model, held)
    assert all(figure["mean"] == 0.0 for figure in found["skill"].values())
    assert all(value == 0.0 for value in found["ceiling"].values())
    assert inverse_r2(model, held)["mean"] <= 0
    assert abs(inverse_excess_r2(model, held)) < 1e-6
    assert all(-0.2 < row["r2"] <= 0 for row in probe_r2(held).values())
    assert effective_rank(held.test_z) == 1.0
    assert dead_dimensions(held.test_z) == 4


def test_who_believes_that_nothing_moves_gets_nothing(stream):
    model = StillModel()
    held = load_heldout(model, stream)
    found = prediction_skill(model, held)
    assert all(figure["mean"] == 0.0 for figure in found["skill"].values())
    assert all(value > 0.999 for value in found["ceiling"].values())  # the encoder is not at fault
    time = valid_prediction_time(model, held, 0.1)
    assert time["median"] == time["nothing_moves"]


def test_a_choice_is_judged_by_accuracy_over_the_commonest():
    stream = ToyStream(discrete=True)
    held = load_heldout(PerfectChooser(), stream)
    found = inverse_accuracy(PerfectChooser(), held)
    assert found["accuracy"]["mean"] == 1.0
    assert found["excess"] == 1.0
    assert 0.15 < found["majority"] < 0.35
    assert inverse_excess_r2(PerfectChooser(), held) > 0.5
    assert prediction_skill(PerfectChooser(), held)["skill"]["25"]["mean"] > 0.999


def test_noise_as_observation_stays_at_the_floor():
    stream = ToyStream()
    random = np.random.default_rng(0)
    for rows in stream.table:
        rows["observation"] = random.normal(size=rows["observation"].shape).astype(np.float32)
    held = load_heldout(PerfectModel(), stream)
    assert all(row["r2"] < 0.05 for row in probe_r2(held).values())
    assert inverse_excess_r2(PerfectModel(), held) < 0.05


def test_one_flight_in_a_thousand_rows_does_not_decide_the_skill():
    stream = ToyStream()
    lane = stream.episodes("test")[0].lane
    flown = stream.table[lane]["observation"].copy()
    flown[30, 0] = 1e4  # and back; nobody could have foreseen it
    stream.table[lane]["observation"] = flown
    held = load_heldout(PerfectModel(), stream)
    assert held.normalised(held.test.numbers).max() == 10.0
    assert prediction_skill(PerfectModel(), held)["skill"]["5"]["mean"] > 0.5


def test_without_truth_the_observation_is_probed():
    held = load_heldout(MixedModel(), ToyStream(truth=False))
    assert list(probe_r2(held)) == [f"observation {i}" for i in range(4)]


def test_splits_are_kept_apart(stream):
    stream.reads.clear()
    held = load_heldout(PerfectModel(), stream)
    names = {"train": held.train, "probe": held.probe, "test": held.test}
    seen = {name: {tuple(row) for row in rows.numbers} for name, rows in names.items()}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["probe"]
    assert not seen["probe"] & seen["test"]
    assert not {e.ordinal for e in stream.episodes("validation")} & set(stream.reads)
    prediction_skill(PerfectModel(), held)
    probe_r2(held)


def test_fitting_does_not_look_at_the_test_split(stream):
    from robossl.evaluation.metrics.readout import fit_readout

    altered = ToyStream()
    for episode in altered.episodes("test"):
        altered.table[episode.lane]["observation"] = altered.table[episode.lane]["observation"] * 9
    before, after = (fit_readout(PerfectModel(), load_heldout(PerfectModel(), s)) for s in (stream, altered))
    np.testing.assert_array_equal(before.line.weights, after.line.weights)
    np.testing.assert_array_equal(before.ways, after.ways)


def test_no_forecast_crosses_an_episode(stream):
    test = load_heldout(PerfectModel(), stream).test
    for gap in (1, 10, 60):
        starts = test.pairs(gap)
        assert len(starts) == len(stream.episodes("test")) * (61 - gap)
        assert (test.episode[starts] == test.episode[starts + gap]).all()
    assert len(test.pairs(61)) == 0


def test_doubt_that_follows_the_error_is_calibrated(stream):
    class Doubting(StillModel):
        def uncertainty(self, z, action):
            return np.linalg.norm(PerfectModel().predict(z, action) - z, axis=-1)

        def disagreement(self, z, action):
            return -self.uncertainty(z, action)

    held = load_heldout(Doubting(), stream)
    assert calibration(Doubting(), held) == pytest.approx(1.0)
    assert calibration(Doubting(), held, "disagreement") == pytest.approx(-1.0)
    assert calibration(StillModel(), held) == 0.0


def test_the_same_seed_gives_the_same_bytes(stream):
    def figures(seed):
        held = load_heldout(MixedModel(), stream, seed)
        found = [prediction_skill(MixedModel(), held), valid_prediction_time(MixedModel(), held, 0.1)]
        found += [inverse_r2(MixedModel(), held), inverse_excess_r2(MixedModel(), held), probe_r2(held)]
        return json.dumps(found, allow_nan=False)

    assert figures(3) == figures(3)
    assert figures(3) != figures(4)


def test_too_little_is_said_in_words():
    with pytest.raises(UsageError, match="has no episode"):
        load_heldout(PerfectModel(), ToyStream(episodes=5))
    held = load_heldout(PerfectModel(), ToyStream(steps=12))
    assert list(prediction_skill(PerfectModel(), held)["skill"]) == [
        "1",
        "5",
    ]  # too few starts 10 steps before the end


def test_every_horizon_is_judged_on_all_the_starts_it_has():
    """Judging one step only where 25 follow would leave out what comes before an end."""
    found = prediction_skill(PerfectModel(), load_heldout(PerfectModel(), ToyStream()))
    starts = {horizon: figure["n"] for horizon, figure in found["skill"].items()}
    assert starts == {str(h): 4 * (61 - h) for h in (1, 5, 10, 25, 50)}
    assert len(found["curve"]["model"]) == len(found["curve"]["steps"]) == 50
