"""What is read from z beyond a line through all rows: few labels, bent truths, rewards, older actions, honest doubt."""

import json

import gymnasium as gym
import numpy as np
import pytest
from evaluation_toys import ConstantModel, PerfectChooser, PerfectModel, ToyStream

import robossl
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import pit_error
from robossl.evaluation.metrics.inverse_dynamics import inverse_excess_curve
from robossl.evaluation.metrics.probes import probe_curve
from robossl.evaluation.metrics.reward_probes import missing_task_reward_reason, reward_probe
from robossl.evaluation.metrics.ridge import fit_ridge
from robossl.evaluation.model_metrics import diagnose
from robossl.world_model import WorldModel, WorldModelConfig

LONG = 200  # episodes: 1,220 rows to fit on


def held_with(change, model=None, episodes=LONG):
    """The toy after `change(rows)` of every episode."""
    stream = ToyStream(episodes)
    for rows in stream.table:
        change(rows)
    return load_heldout(model or PerfectModel(), stream)


def test_a_straight_truth_takes_few_rows_and_a_bent_one_a_network():
    def bend(rows):
        rows["state.bent"] = np.abs(rows["state.position"][:, [0]])

    curve = probe_curve(held_with(bend))
    assert list(curve) == ["100", "1000", "1220"]
    for row in curve.values():
        assert row["quantities"]["position"]["line"] > 0.99
        assert row["quantities"]["position"]["network"] > 0.97
        assert row["quantities"]["bent"]["line"] < 0.3
    bent = [row["quantities"]["bent"]["network"] for row in curve.values()]
    assert 0.8 < bent[0] < bent[1]
    assert bent[1] > 0.95
    last = curve["1220"]
    assert last["network"] == pytest.approx(np.mean([q["network"] for q in last["quantities"].values()]))


def test_what_moves_in_one_row_of_a_hundred_is_trusted_less():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(100, 3)), random.normal(size=(100, 1))
    x[:, 2] = 0.01 * (np.arange(100) == 7)
    plain, careful = fit_ridge(x, y, np.arange(100)), fit_ridge(x, y, np.arange(100), least=0.3)
    assert abs(careful.weights[2, 0]) < 0.1 * abs(plain.weights[2, 0])
    same = fit_ridge(x, y, np.arange(100), least=1e-4)  # nothing spreads less
    np.testing.assert_array_equal(same.weights, plain.weights)


def test_latents_are_measured_by_probe_alone():
    altered = ToyStream()
    for episode in altered.episodes("test"):
        altered.table[episode.lane]["observation"] = altered.table[episode.lane]["observation"] * 9
    before, after = (load_heldout(PerfectModel(), stream) for stream in (ToyStream(), altered))
    for ours, theirs in zip((before.scaled, before.centred), (after.scaled, after.centred)):
        np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(after.scaled[1], 9 * before.scaled[1], rtol=1e-5)
    np.testing.assert_allclose(before.centred[0].mean(0), 0, atol=1e-9)


def test_what_cannot_be_read_does_not_decide_how_the_rest_is():
    random = np.random.default_rng(0)

    def drown(rows):
        rows["state.noise"] = 1e6 * random.normal(size=(len(rows["valid"]), 1))

    assert probe_curve(held_with(drown))["1000"]["quantities"]["position"]["line"] > 0.99


def test_where_the_latents_lie_does_not_matter():
    class Away(PerfectModel):
        def encode(self, observation):
            return super().encode(observation) + np.float32(30)

    def bend(rows):
        rows["state.bent"] = np.abs(rows["state.position"][:, [0]])

    assert probe_curve(held_with(bend, Away()))["1000"]["quantities"]["bent"]["network"] > 0.95
    here, away = reward_probe(held_with(bend)), reward_probe(held_with(bend, Away()))
    for name, row in here.items():
        assert away[name]["network"] == pytest.approx(row["network"], abs=0.05)


def test_what_only_trembles_is_no_quantity():
    random = np.random.default_rng(0)

    def tremble(rows):
        still = 1e-11 * random.normal(size=(len(rows["valid"]), 1))
        rows["state.velocity"] = np.concatenate([rows["state.velocity"], still], 1)
        rows["state.solver"] = still

    held = held_with(tremble)
    curve = probe_curve(held)["1000"]
    assert set(curve["quantities"]) == {"position", "velocity"}
    assert curve["line"] > 0.99
    assert not any(name.startswith("solver") for name in reward_probe(held))


def test_what_moves_on_one_side_only_is_no_quantity():
    stream = ToyStream(LONG)
    for episode in stream.episodes("test"):
        rows = stream.table[episode.lane]
        rows["state.velocity"] = np.zeros_like(rows["state.velocity"])
    held = load_heldout(PerfectModel(), stream)
    assert set(probe_curve(held)["1000"]["quantities"]) == {"position"}
    assert all(name.startswith("position") for name in reward_probe(held))


def test_rewards_are_learned_on_probe_alone():
    stream = ToyStream(LONG)
    for split, sign in (("probe", 1), ("test", -1)):
        for episode in stream.episodes(split):
            rows = stream.table[episode.lane]
            rows["reward"] = np.append(sign * rows["state.position"][1:, 0], np.float32(0))
    found = reward_probe(load_heldout(PerfectModel(), stream))["task"]
    assert max(found.values()) < 0  # whoever had looked at test would know better


def test_all_rows_there_are_is_the_last_entry_and_no_more_is_claimed():
    assert list(probe_curve(load_heldout(PerfectModel(), ToyStream()))) == ["100", "244"]


def test_nothing_is_read_from_a_constant_or_from_noise():
    constant = load_heldout(ConstantModel(), ToyStream(LONG))
    assert all(row["line"] == row["network"] == 0 for row in probe_curve(constant).values())
    assert all(row["line"] <= 0 and row["network"] <= 0 for row in reward_probe(constant).values())
    assert all(row["observation"] > 0.5 for row in reward_probe(constant).values())  # there it is
    assert set(inverse_excess_curve(constant).values()) == {0.0}
    random = np.random.default_rng(0)

    def noise(rows):
        rows["observation"] = random.normal(size=rows["observation"].shape).astype(np.float32)

    noisy = held_with(noise)
    assert all(row["line"] < 0.05 and row["network"] < 0.05 for row in probe_curve(noisy).values())
    assert all(row["network"] < 0.05 for row in reward_probe(noisy).values())
    assert max(inverse_excess_curve(noisy).values()) < 0.05


def test_rewards_for_being_somewhere_are_read_and_are_four():
    found = reward_probe(held_with(lambda rows: None))
    assert len(found) == 4
    for row in found.values():
        assert row["network"] > row["line"]  # they fall on all sides
        assert row["network"] > 0.5
        assert row["observation"] == pytest.approx(row["network"], abs=0.05)  # here z is the observation


def test_the_recorded_reward_belongs_to_where_its_action_led():
    def reward(rows):
        rows["reward"] = np.append(
            rows["state.position"][1:, 0], np.float32(9e9)
        )  # the last row brought nothing

    found = reward_probe(held_with(reward))
    assert next(iter(found)) == "task"
    assert found["task"]["line"] > 0.999


def test_a_reward_about_a_goal_is_not_asked_of_what_holds_no_goal(tmp_path):
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=10, nthread=1)
    stream = robossl.collect(envs, "colored_noise", 10 * 205, tmp_path / "stream", 0)
    model = WorldModel(
        WorldModelConfig(latent_dim=8, encoder_hidden=(8,)), stream.observation_space, stream.action_space, seed=0
    )
    held = load_heldout(model, stream)
    assert np.std(held.test.reward) > 0
    assert "task" not in reward_probe(held)
    assert len(reward_probe(held)) == 4
    assert "about a goal" in missing_task_reward_reason(held)


def test_a_reward_that_never_varies_is_not_probed():
    assert "task" not in reward_probe(held_with(lambda rows: None))


def test_an_action_fades_among_those_that_follow():
    curve = inverse_excess_curve(load_heldout(PerfectModel(), ToyStream(LONG)))
    assert list(curve) == ["1", "3", "5", "10"]
    assert curve["1"] > 0.99
    assert curve["1"] > curve["3"] > curve["5"] > curve["10"] > 0
    short = inverse_excess_curve(load_heldout(PerfectModel(), ToyStream(LONG, steps=4)))
    assert list(short) == ["1", "3"]
    told = diagnose(PerfectModel(), ToyStream(LONG, steps=4), 0.1)[1]
    assert "5 steps apart" in told["world.inverse_excess_curve.5"]
    choices = inverse_excess_curve(load_heldout(PerfectChooser(), ToyStream(LONG, discrete=True)))
    assert choices["1"] > choices["10"]


@pytest.mark.parametrize(
    ("claimed", "low", "high"), [(1.0, 0.0, 0.01), (0.1, 0.18, 0.25), (10.0, 0.18, 0.25)]
)
def test_errors_as_large_as_claimed_are_told_from_larger_and_smaller(claimed, low, high):
    size = 0.3

    class Noisy(PerfectModel):
        def imagine(self, z, actions):
            path = super().imagine(z, actions)
            noise = np.random.default_rng(len(z)).normal(0, size, path[:, 1:].shape)
            return np.concatenate([path[:, :1], path[:, 1:] + noise], 1)

        def uncertainty(self, z, action):
            return np.full(len(z), claimed * size)

    held = load_heldout(Noisy(), ToyStream(LONG))
    assert low <= pit_error(Noisy(), held) <= high


@pytest.mark.parametrize("model", [PerfectModel(), ConstantModel()], ids=["perfect", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_shortest_lives_get_figures_or_reasons_and_no_warning(model, steps):
    section, absent = diagnose(model, ToyStream(10, steps), 0.1)
    json.dumps(section, allow_nan=False)
    assert section["probe_curve"]
    assert section["reward_probe"]
    assert "inverse_excess_curve" not in section
    assert "fewer than 20 steps" in absent["world.inverse_excess_curve"]
    assert "world.forward_skill" in absent
    assert "gave" in absent["world.probe_curve.100"]
    assert absent["world.reward_probe.task"] == "the recorded reward does not vary"


def test_where_nothing_varies_there_is_nothing_to_read():
    stream = ToyStream()
    for rows in stream.table:
        for name in ("state.position", "state.velocity"):
            rows[name] = np.ones_like(rows[name])
    section, absent = diagnose(PerfectModel(), stream, 0.1)
    assert not {"probe_curve", "reward_probe"} & set(section)
    assert "nothing varies" in absent["world.probe_curve"]
    assert "nothing varies" in absent["world.reward_probe"]


def test_the_same_seed_gives_the_same_readings():
    def readings(seed):
        held = load_heldout(PerfectModel(), ToyStream(), seed)
        return probe_curve(held), reward_probe(held), inverse_excess_curve(held)

    assert readings(3) == readings(3)
    assert readings(3) != readings(4)
