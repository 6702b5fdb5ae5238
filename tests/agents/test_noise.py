"""Open-loop policies: actions in the space, power spectrum, independence of num_envs, checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from robossl.agents.noise import POLICIES, ColoredNoisePolicy, RandomPolicy, ZeroPolicy
from robossl.agents.shared.action_range import action_range
from robossl.agents.shared.colored_noise import colored_noise

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree

SPACES = {
    "box": Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32)),
    "flat": Box(-1, 1, (), np.float32),
    "matrix": Box(0.1, 0.7, (2, 3), np.float64),
    "unbounded": Box(-np.inf, np.inf, (2,), np.float32),
    "half": Box(np.array([3, -np.inf], np.float32), np.array([np.inf, -7], np.float32)),
    "discrete": Discrete(5),
    "shifted": Discrete(3, start=-1),
}


def slope(exponent: float, length: int = 1024) -> float:
    """Return the slope of log power over log frequency."""
    white = np.random.default_rng(0).standard_normal((length, 64))
    power = np.mean(np.abs(np.fft.rfft(colored_noise(white, exponent), axis=0)) ** 2, axis=1)[1:-1]
    return float(np.polyfit(np.log(np.fft.rfftfreq(length)[1:-1]), np.log(power), 1)[0])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_power_falls_with_frequency_as_the_exponent_sets(exponent):
    assert slope(exponent) == pytest.approx(-exponent, abs=0.05)


@pytest.mark.parametrize("length", [2, 3, 6, 7, 1024])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_colored_noise_keeps_the_variance(exponent, length):
    white = np.random.default_rng(1).standard_normal((40_000 // length, length, 2))
    assert np.mean(colored_noise(white, exponent, axis=1) ** 2) == pytest.approx(1.0, abs=0.2)


def test_noise_is_colored_along_its_axis_only():
    white = np.random.default_rng(0).standard_normal((3, 32, 2)).astype(np.float32)
    batched = colored_noise(white, 1.0, axis=1)
    assert batched.dtype == np.float32
    for i in range(3):
        np.testing.assert_allclose(batched[i], colored_noise(white[i], 1.0), atol=1e-6)


def rollout(policy, steps: int, ends: int = 0) -> np.ndarray:
    """Return actions (steps, n, ...); every `ends` steps the even sub-environments begin a new episode."""
    policy.reset()
    actions = []
    for t in range(steps):
        actions.append(policy.act(None))
        if ends and (t + 1) % ends == 0:
            policy.reset(np.arange(policy.num_envs) % 2 == 0)
    return np.stack(actions)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", SPACES)
def test_all_actions_are_in_the_space(name, kind):
    space = SPACES[kind]
    for action in rollout(POLICIES[name](space, 4), 50).reshape(200, *space.shape):
        assert space.contains(np.asarray(action)), action


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", ["box", "shifted"])
def test_actions_do_not_depend_on_num_envs(name, kind):
    few, many = (POLICIES[name](SPACES[kind], n, seed=3) for n in (2, 7))
    np.testing.assert_array_equal(rollout(few, 60, 9), rollout(many, 60, 9)[:, :2])


@pytest.mark.parametrize("name", ["random", "colored_noise"])
@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_seeds_and_sub_environments_give_different_actions(name, kind):
    one, other = (rollout(POLICIES[name](SPACES[kind], 3, seed), 40) for seed in (0, 1))
    sequences = [*one.swapaxes(0, 1), *other.swapaxes(0, 1)]
    assert all((a != b).any() for i, a in enumerate(sequences) for b in sequences[:i])


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", ["box", "matrix", "discrete"])
@pytest.mark.parametrize("before", [17, 1030])
def test_restored_policy_continues_to_the_bit(tmp_path, name, kind, before):
    policy = POLICIES[name](SPACES[kind], 3, seed=5)
    rollout(policy, before, 300)
    save_tree(tmp_path / "policy", policy.get_checkpoint())
    expected = next_actions(policy)
    fresh = POLICIES[name](SPACES[kind], 3, seed=99)
    fresh.set_checkpoint(load_tree(tmp_path / "policy"))
    np.testing.assert_array_equal(next_actions(fresh), expected)


def next_actions(policy) -> np.ndarray:
    return np.stack([policy.act(None) for _ in range(40)])


def test_checkpoint_of_another_num_envs_is_rejected():
    tree = ColoredNoisePolicy(SPACES["box"], 3).get_checkpoint()
    with pytest.raises(UsageError, match="checkpoint of 2 sub-environments, got 3"):
        ColoredNoisePolicy(SPACES["box"], 2).set_checkpoint(tree)


def test_random_actions_cover_the_range():
    actions = rollout(RandomPolicy(SPACES["box"], 50), 100).reshape(-1, 2)
    low, high = SPACES["box"].low, SPACES["box"].high
    np.testing.assert_allclose(actions.min(0), low, atol=0.01)
    np.testing.assert_allclose(actions.max(0), high, atol=0.01)
    np.testing.assert_allclose(actions.mean(0), (low + high) / 2, atol=0.1)
    assert set(rollout(RandomPolicy(SPACES["shifted"], 50), 10).ravel()) == {-1, 0, 1}


def test_missing_bound_is_at_distance_two():
    low, high = action_range(SPACES["half"])
    assert (low.tolist(), high.tolist()) == ([3, -9], [5, -7])
    low, high = action_range(SPACES["unbounded"])
    assert (low.tolist(), high.tolist()) == ([-1, -1], [1, 1])


def test_zero_action_is_the_nearest_value_in_the_range():
    assert rollout(ZeroPolicy(SPACES["box"], 1), 1).ravel().tolist() == [0, 0]
    assert rollout(ZeroPolicy(SPACES["half"], 1), 1).ravel().tolist() == [3, -7]
    assert rollout(ZeroPolicy(SPACES["shifted"], 1), 1).ravel().tolist() == [-1]


def test_colored_noise_episodes_range_from_white_to_red():
    policy = ColoredNoisePolicy(Box(-1, 1, (1,), np.float32), 200)
    actions = rollout(policy, 200)[..., 0]  # (T, n)
    correlation = np.mean(actions[1:] * actions[:-1], 0) / np.mean(actions**2, 0)  # of consecutive actions
    assert np.mean(np.abs(correlation) < 0.2) == pytest.approx(0.25, abs=0.1)  # white
    assert np.mean(correlation > 0.9) == pytest.approx(0.25, abs=0.1)  # red


def test_reset_draws_new_noise_in_its_sub_environment_only():
    policy, other = (ColoredNoisePolicy(SPACES["box"], 2, seed=1) for _ in range(2))
    rollout(policy, 5), rollout(other, 5)
    policy.reset(np.array([True, False]))
    one, two = next_actions(policy), next_actions(other)
    assert (one[:, 0] != two[:, 0]).any()
    np.testing.assert_array_equal(one[:, 1], two[:, 1])


def test_discrete_actions_are_repeated():
    actions = rollout(ColoredNoisePolicy(Discrete(10**9), 30), 400)  # (T, n): no two draws are equal
    changes = np.diff(actions, axis=0) != 0
    runs = np.concatenate([np.diff(np.flatnonzero(column)) for column in changes.T])
    assert runs.max() == 16
    assert np.mean(runs == 1) == pytest.approx(6 / np.pi**2, abs=0.05)  # zeta(2)


@pytest.mark.parametrize("space", [MultiBinary(3), Box(0, 9, (2,), np.int64), Dict(a=Discrete(2))])
@pytest.mark.parametrize("name", POLICIES)
def test_other_action_spaces_are_rejected(name, space):
    with pytest.raises(UsageError, match="expected a float Box or Discrete action space, got"):
        POLICIES[name](space, 1)


def test_generator_states_are_json():
    json.dumps(RandomPolicy(SPACES["box"], 2).get_checkpoint())
