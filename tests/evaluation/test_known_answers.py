"""Metrics of models with known answers: constant models at chance, perfect models at one, shuffled actions below."""

import json

import numpy as np
import pytest
from evaluation_toys import (
    ConstantModel,
    IdentityModel,
    MixedModel,
    PerfectDiscreteModel,
    PerfectModel,
    ToyStream,
)

from robossl.core.errors import UsageError
from robossl.core.statistics import dead_dimensions, effective_rank
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import calibration, calibration_curve
from robossl.evaluation.metrics.inverse_dynamics import inverse_accuracy, inverse_excess_r2, inverse_r2
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.evaluation.metrics.probes import probe_r2
from robossl.evaluation.metrics.quantity_errors import quantity_errors


@pytest.fixture(scope="module")
def stream():
    return ToyStream()


@pytest.mark.parametrize("model", [PerfectModel(), MixedModel()], ids=["plain", "mixed"])
def test_perfect_model_has_perfect_metrics(stream, model):
    heldout = load_heldout(model, stream)
    found = prediction_skill(model, heldout)
    assert list(found["skill"]) == ["1", "5", "10", "25", "50"]
    for horizon, estimate in found["skill"].items():
        assert estimate["mean"] > 0.999
        assert estimate["low"] <= estimate["mean"] <= estimate["high"]
        assert found["encoder_bound"][horizon] == pytest.approx(estimate["mean"], abs=1e-3)
        assert found["linear"][horizon] > 0.99  # the system is linear
        assert found["shuffled"][horizon] < estimate["mean"] - 0.3
    assert inverse_r2(model, heldout)["mean"] > 0.999
    assert inverse_excess_r2(model, heldout) > 0.9
    assert all(row["r2"] > 0.999 and row["delta"] > 0.99 for row in probe_r2(heldout).values())
    time = valid_prediction_time(model, heldout, step_seconds=0.1)
    assert time["censored"] == 1.0
    assert time["median"] == time["horizon"] == pytest.approx(0.1 * len(time_steps(time)))
    assert time["no_change"] < 0.5 * time["median"]
    assert effective_rank(heldout.test_z) > 3


def time_steps(time):
    return range(round(time["horizon"] / 0.1))


def test_constant_encoder_is_at_chance(stream):
    model = ConstantModel()
    heldout = load_heldout(model, stream)
    found = prediction_skill(model, heldout)
    assert all(estimate["mean"] == 0.0 for estimate in found["skill"].values())
    assert all(value == 0.0 for value in found["encoder_bound"].values())
    assert inverse_r2(model, heldout)["mean"] <= 0
    assert abs(inverse_excess_r2(model, heldout)) < 1e-6
    assert all(-0.2 < row["r2"] <= 0 for row in probe_r2(heldout).values())
    assert effective_rank(heldout.test_z) == 1.0
    assert dead_dimensions(heldout.test_z) == 4


def test_identity_model_has_zero_skill(stream):
    model = IdentityModel()
    heldout = load_heldout(model, stream)
    found = prediction_skill(model, heldout)
    assert all(estimate["mean"] == 0.0 for estimate in found["skill"].values())
    assert all(value > 0.999 for value in found["encoder_bound"].values())  # the encoder is perfect
    time = valid_prediction_time(model, heldout, 0.1)
    assert time["median"] == time["no_change"]


def test_discrete_actions_are_scored_by_accuracy_over_the_majority():
    stream = ToyStream(discrete=True)
    heldout = load_heldout(PerfectDiscreteModel(), stream)
    found = inverse_accuracy(PerfectDiscreteModel(), heldout)
    assert found["accuracy"]["mean"] == 1.0
    assert found["excess"] == 1.0
    assert 0.15 < found["majority"] < 0.35
    assert inverse_excess_r2(PerfectDiscreteModel(), heldout) > 0.5
    assert prediction_skill(PerfectDiscreteModel(), heldout)["skill"]["25"]["mean"] > 0.999


def test_noise_observations_have_no_probe_or_inverse_score():
    stream = ToyStream()
    random = np.random.default_rng(0)
    for fields in stream.episode_fields:
        fields["observation"] = random.normal(size=fields["observation"].shape).astype(np.float32)
    heldout = load_heldout(PerfectModel(), stream)
    assert all(row["r2"] < 0.05 for row in probe_r2(heldout).values())
    assert inverse_excess_r2(PerfectModel(), heldout) < 0.05


def test_one_outlier_does_not_dominate_the_skill():
    stream = ToyStream()
    index = stream.episodes("test")[0].ordinal
    observation = stream.episode_fields[index]["observation"].copy()
    observation[30, 0] = 1e4  # unpredictable, for one time step
    stream.episode_fields[index]["observation"] = observation
    heldout = load_heldout(PerfectModel(), stream)
    assert heldout.normalize(heldout.test.values).max() == 10.0
    assert prediction_skill(PerfectModel(), heldout)["skill"]["5"]["mean"] > 0.5


def test_without_privileged_state_the_observation_is_probed():
    heldout = load_heldout(MixedModel(), ToyStream(state=False))
    assert list(probe_r2(heldout)) == [f"observation {i}" for i in range(4)]


def test_splits_are_disjoint(stream):
    stream.reads.clear()
    heldout = load_heldout(PerfectModel(), stream)
    splits = {"train": heldout.train, "probe": heldout.probe, "test": heldout.test}
    seen = {name: {tuple(values) for values in data.values} for name, data in splits.items()}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["probe"]
    assert not seen["probe"] & seen["test"]
    assert not {e.ordinal for e in stream.episodes("validation")} & set(stream.reads)
    prediction_skill(PerfectModel(), heldout)
    probe_r2(heldout)


def test_readout_does_not_depend_on_the_test_split(stream):
    from robossl.evaluation.metrics.readout import fit_readout

    altered = ToyStream()
    for episode in altered.episodes("test"):
        altered.episode_fields[episode.ordinal]["observation"] *= 9
    before, after = (fit_readout(PerfectModel(), load_heldout(PerfectModel(), s)) for s in (stream, altered))
    np.testing.assert_array_equal(before.linear.weights, after.linear.weights)
    np.testing.assert_array_equal(before.method, after.method)


def test_no_window_crosses_an_episode(stream):
    test = load_heldout(PerfectModel(), stream).test
    for gap in (1, 10, 60):
        starts = test.starts(gap)
        assert len(starts) == len(stream.episodes("test")) * (61 - gap)
        assert (test.episode[starts] == test.episode[starts + gap]).all()
    assert len(test.starts(61)) == 0


def test_uncertainty_that_follows_the_error_is_calibrated(stream):
    class CalibratedModel(IdentityModel):
        def uncertainty(self, z, action):
            return np.linalg.norm(PerfectModel().predict(z, action) - z, axis=-1)

        def disagreement(self, z, action):
            return -self.uncertainty(z, action)

    heldout = load_heldout(CalibratedModel(), stream)
    assert calibration(CalibratedModel(), heldout) == pytest.approx(1.0)
    assert calibration(CalibratedModel(), heldout, "disagreement") == pytest.approx(-1.0)
    assert calibration(IdentityModel(), heldout) == 0.0


def test_same_seed_gives_the_same_bytes(stream):
    def metrics(seed):
        heldout = load_heldout(MixedModel(), stream, seed)
        found = [prediction_skill(MixedModel(), heldout), valid_prediction_time(MixedModel(), heldout, 0.1)]
        found += [
            inverse_r2(MixedModel(), heldout),
            inverse_excess_r2(MixedModel(), heldout),
            probe_r2(heldout),
        ]
        return json.dumps(found, allow_nan=False)

    assert metrics(3) == metrics(3)
    assert metrics(3) != metrics(4)


def test_too_few_episodes_are_refused_and_far_horizons_omitted():
    with pytest.raises(UsageError, match="has no episode"):
        load_heldout(PerfectModel(), ToyStream(episodes=5))
    heldout = load_heldout(PerfectModel(), ToyStream(steps=12))
    assert list(prediction_skill(PerfectModel(), heldout)["skill"]) == [
        "1",
        "5",
    ]  # too few starts 10 steps before the end


def test_every_horizon_is_evaluated_on_all_its_starts():
    """Evaluating one step only where 25 follow would leave out the steps before an end."""
    found = prediction_skill(PerfectModel(), load_heldout(PerfectModel(), ToyStream()))
    starts = {horizon: estimate["n"] for horizon, estimate in found["skill"].items()}
    assert starts == {str(h): 4 * (61 - h) for h in (1, 5, 10, 25, 50)}
    assert len(found["curve"]["model"]) == len(found["curve"]["steps"]) == 50


def test_error_of_each_quantity_is_small_for_a_perfect_model_and_that_of_no_change_for_an_identity(stream):
    perfect, identity = (
        quantity_errors(model, load_heldout(model, stream)) for model in (PerfectModel(), IdentityModel())
    )
    assert set(perfect) == {"position", "velocity"}
    for name, entry in perfect.items():
        assert list(entry["horizons"]) == ["1", "10", "25"]
        for horizon, error in entry["horizons"].items():
            assert error["rmse"] < 0.1 * error["no_change"]
            unchanged = identity[name]["horizons"][horizon]
            assert unchanged["rmse"] == pytest.approx(unchanged["no_change"], rel=0.1)
            assert error["absolute"] == pytest.approx(error["rmse"] * entry["std"], rel=0.5)


def test_reliability_of_a_model_that_predicts_its_error_is_the_diagonal(stream):
    model = IdentityModel()
    heldout = load_heldout(model, stream)
    errors = heldout.test_z[heldout.test.starts(1) + 1] - heldout.test_z[heldout.test.starts(1)]
    constant = float(np.sqrt(np.mean(errors**2)))
    model.uncertainty = lambda z, action: np.full(len(z), constant)
    curve = calibration_curve(model, heldout)
    assert sum(curve["n"]) == len(errors)
    assert np.mean(np.square(curve["true"])) == pytest.approx(constant**2, rel=0.05)
    assert curve["predicted"] == pytest.approx([constant] * len(curve["n"]))
