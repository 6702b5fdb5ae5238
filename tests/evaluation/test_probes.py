"""Probes of z: few labels, nonlinear quantities, rewards, older actions, and calibrated uncertainty."""

import json

import gymnasium as gym
import numpy as np
import pytest
from evaluation_toys import ConstantModel, PerfectDiscreteModel, PerfectModel, ToyStream

import robossl
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import pit_error
from robossl.evaluation.metrics.inverse_dynamics import inverse_excess_curve
from robossl.evaluation.metrics.probes import probe_curve
from robossl.evaluation.metrics.reward_probes import missing_task_reward_reason, reward_probe
from robossl.evaluation.metrics.ridge import fit_ridge
from robossl.evaluation.model_metrics import evaluate_world_model
from robossl.world_model import WorldModel, WorldModelConfig

LONG = 200  # episodes: 1,220 time steps to fit on


def heldout_with(change, model=None, episodes=LONG):
    """Return held-out data of the toy after `change(fields)` of every episode."""
    stream = ToyStream(episodes)
    for fields in stream.episode_fields:
        change(fields)
    return load_heldout(model or PerfectModel(), stream)


def add_nonlinear_state(fields):
    fields["state.distance"] = np.abs(fields["state.position"][:, [0]])


def test_linear_quantity_needs_few_labels_and_nonlinear_one_needs_random_features():

    curve = probe_curve(heldout_with(add_nonlinear_state))
    assert list(curve) == ["100", "1000", "1220"]
    for row in curve.values():
        assert row["quantities"]["position"]["linear"] > 0.99
        assert row["quantities"]["position"]["random_features"] > 0.97
        assert row["quantities"]["distance"]["linear"] < 0.3
    nonlinear = [row["quantities"]["distance"]["random_features"] for row in curve.values()]
    assert 0.8 < nonlinear[0] < nonlinear[1]
    assert nonlinear[1] > 0.95
    last = curve["1220"]
    scores = [quantity["random_features"] for quantity in last["quantities"].values()]
    assert last["random_features"] == pytest.approx(np.mean(scores))


def test_input_that_is_rarely_nonzero_gets_a_smaller_weight():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(100, 3)), random.normal(size=(100, 1))
    x[:, 2] = 0.01 * (np.arange(100) == 7)
    plain, limited = fit_ridge(x, y, np.arange(100)), fit_ridge(x, y, np.arange(100), min_std=0.3)
    assert abs(limited.weights[2, 0]) < 0.1 * abs(plain.weights[2, 0])
    same = fit_ridge(x, y, np.arange(100), min_std=1e-4)  # no input has a smaller one
    np.testing.assert_array_equal(same.weights, plain.weights)


def test_latents_are_scaled_by_the_probe_split_alone():
    altered = ToyStream()
    for episode in altered.episodes("test"):
        altered.episode_fields[episode.ordinal]["observation"] *= 9
    before, after = (load_heldout(PerfectModel(), stream) for stream in (ToyStream(), altered))
    for expected, actual in (
        (before.scaled_z, after.scaled_z),
        (before.standardized_z, after.standardized_z),
    ):
        np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_allclose(after.scaled_z[1], 9 * before.scaled_z[1], rtol=1e-5)
    np.testing.assert_allclose(before.standardized_z[0].mean(0), 0, atol=1e-9)


def test_unpredictable_quantity_does_not_change_the_scores_of_others():
    random = np.random.default_rng(0)

    def add_noise_state(fields):
        fields["state.noise"] = 1e6 * random.normal(size=(len(fields["valid"]), 1))

    assert probe_curve(heldout_with(add_noise_state))["1000"]["quantities"]["position"]["linear"] > 0.99


def test_probes_do_not_depend_on_an_offset_of_the_latents():
    class OffsetModel(PerfectModel):
        def encode(self, observation):
            return super().encode(observation) + np.float32(30)

    curve = probe_curve(heldout_with(add_nonlinear_state, OffsetModel()))
    assert curve["1000"]["quantities"]["distance"]["random_features"] > 0.95
    plain = reward_probe(heldout_with(add_nonlinear_state))
    offset = reward_probe(heldout_with(add_nonlinear_state, OffsetModel()))
    for name, row in plain.items():
        assert offset[name]["random_features"] == pytest.approx(row["random_features"], abs=0.05)


def test_numerically_constant_quantity_is_not_probed():
    random = np.random.default_rng(0)

    def add_constant_state(fields):
        constant = 1e-11 * random.normal(size=(len(fields["valid"]), 1))
        fields["state.velocity"] = np.concatenate([fields["state.velocity"], constant], 1)
        fields["state.solver"] = constant

    heldout = heldout_with(add_constant_state)
    curve = probe_curve(heldout)["1000"]
    assert set(curve["quantities"]) == {"position", "velocity"}
    assert curve["linear"] > 0.99
    assert not any(name.startswith("solver") for name in reward_probe(heldout))


def test_quantity_that_is_constant_on_test_is_not_probed():
    stream = ToyStream(LONG)
    for episode in stream.episodes("test"):
        fields = stream.episode_fields[episode.ordinal]
        fields["state.velocity"] = np.zeros_like(fields["state.velocity"])
    heldout = load_heldout(PerfectModel(), stream)
    assert set(probe_curve(heldout)["1000"]["quantities"]) == {"position"}
    assert all(name.startswith("position") for name in reward_probe(heldout))


def test_reward_probe_is_fitted_on_the_probe_split_alone():
    stream = ToyStream(LONG)
    for split, sign in (("probe", 1), ("test", -1)):
        for episode in stream.episodes(split):
            fields = stream.episode_fields[episode.ordinal]
            fields["reward"] = np.append(sign * fields["state.position"][1:, 0], np.float32(0))
    scores = reward_probe(load_heldout(PerfectModel(), stream))["task"]
    assert max(scores.values()) < 0  # the sign of the reward differs between the splits


def test_last_entry_of_the_probe_curve_uses_all_time_steps():
    assert list(probe_curve(load_heldout(PerfectModel(), ToyStream()))) == ["100", "244"]


def test_constant_and_noise_latents_have_zero_probe_scores():
    constant = load_heldout(ConstantModel(), ToyStream(LONG))
    assert all(row["linear"] == row["random_features"] == 0 for row in probe_curve(constant).values())
    assert all(row["linear"] <= 0 and row["random_features"] <= 0 for row in reward_probe(constant).values())
    assert all(row["observation"] > 0.5 for row in reward_probe(constant).values())
    assert set(inverse_excess_curve(constant).values()) == {0.0}
    random = np.random.default_rng(0)

    def replace_by_noise(fields):
        fields["observation"] = random.normal(size=fields["observation"].shape).astype(np.float32)

    noisy = heldout_with(replace_by_noise)
    assert all(row["linear"] < 0.05 and row["random_features"] < 0.05 for row in probe_curve(noisy).values())
    assert all(row["random_features"] < 0.05 for row in reward_probe(noisy).values())
    assert max(inverse_excess_curve(noisy).values()) < 0.05


def test_four_synthetic_rewards_are_predicted_by_random_features():
    scores = reward_probe(heldout_with(lambda fields: None))
    assert len(scores) == 4
    for row in scores.values():
        assert row["random_features"] > row["linear"]  # the rewards have a maximum inside the data
        assert row["random_features"] > 0.5
        assert row["observation"] == pytest.approx(row["random_features"], abs=0.05)  # z is the observation


def test_recorded_reward_is_aligned_with_the_next_time_step():
    def add_reward(fields):
        unused = np.float32(9e9)  # of the last time step, which has no action
        fields["reward"] = np.append(fields["state.position"][1:, 0], unused)

    scores = reward_probe(heldout_with(add_reward))
    assert next(iter(scores)) == "task"
    assert scores["task"]["linear"] > 0.999


def test_goal_reward_is_not_probed(tmp_path):
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=10, nthread=1)
    stream = robossl.collect(envs, "colored_noise", 10 * 205, tmp_path / "stream", 0)
    model = WorldModel(
        WorldModelConfig(latent_dim=8, encoder_hidden=(8,)),
        stream.observation_space,
        stream.action_space,
        seed=0,
    )
    heldout = load_heldout(model, stream)
    assert np.std(heldout.test.reward) > 0
    assert "task" not in reward_probe(heldout)
    assert len(reward_probe(heldout)) == 4
    assert "depends on a goal" in missing_task_reward_reason(heldout)


def test_constant_reward_is_not_probed():
    assert "task" not in reward_probe(heldout_with(lambda fields: None))


def test_inverse_excess_decreases_with_the_gap():
    curve = inverse_excess_curve(load_heldout(PerfectModel(), ToyStream(LONG)))
    assert list(curve) == ["1", "3", "5", "10"]
    assert curve["1"] > 0.99
    assert curve["1"] > curve["3"] > curve["5"] > curve["10"] > 0
    short = inverse_excess_curve(load_heldout(PerfectModel(), ToyStream(LONG, steps=4)))
    assert list(short) == ["1", "3"]
    missing = evaluate_world_model(PerfectModel(), ToyStream(LONG, steps=4), 0.1)[1]
    assert "5 steps apart" in missing["inverse_excess_curve.5"]
    discrete = inverse_excess_curve(load_heldout(PerfectDiscreteModel(), ToyStream(LONG, discrete=True)))
    assert discrete["1"] > discrete["10"]


@pytest.mark.parametrize(
    ("predicted", "low", "high"), [(1.0, 0.0, 0.01), (0.1, 0.18, 0.25), (10.0, 0.18, 0.25)]
)
def test_pit_error_is_zero_only_if_errors_are_as_predicted(predicted, low, high):
    size = 0.3

    class NoisyModel(PerfectModel):
        def imagine(self, z, actions):
            path = super().imagine(z, actions)
            noise = np.random.default_rng(len(z)).normal(0, size, path[:, 1:].shape)
            return np.concatenate([path[:, :1], path[:, 1:] + noise], 1)

        def uncertainty(self, z, action):
            return np.full(len(z), predicted * size)

    heldout = load_heldout(NoisyModel(), ToyStream(LONG))
    assert low <= pit_error(NoisyModel(), heldout) <= high


@pytest.mark.parametrize("model", [PerfectModel(), ConstantModel()], ids=["perfect", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_shortest_episodes_have_metrics_or_reasons_and_no_warning(model, steps):
    metrics, missing = evaluate_world_model(model, ToyStream(10, steps), 0.1)
    json.dumps(metrics, allow_nan=False)
    assert metrics["probe_curve"]
    assert metrics["reward_probe"]
    assert "inverse_excess_curve" not in metrics
    assert "fewer than 20 steps" in missing["inverse_excess_curve"]
    assert "prediction_skill" in missing
    assert "time steps" in missing["probe_curve.100"]
    assert missing["reward_probe.task"] == "the recorded reward is constant"


def test_constant_quantities_have_no_probes():
    stream = ToyStream()
    for fields in stream.episode_fields:
        for name in ("state.position", "state.velocity"):
            fields[name] = np.ones_like(fields[name])
    metrics, missing = evaluate_world_model(PerfectModel(), stream, 0.1)
    assert not {"probe_curve", "reward_probe"} & set(metrics)
    assert "constant" in missing["probe_curve"]
    assert "constant" in missing["reward_probe"]


def test_same_seed_gives_the_same_scores():
    def scores(seed):
        heldout = load_heldout(PerfectModel(), ToyStream(), seed)
        return probe_curve(heldout), reward_probe(heldout), inverse_excess_curve(heldout)

    assert scores(3) == scores(3)
    assert scores(3) != scores(4)
