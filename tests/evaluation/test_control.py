"""Control evaluation: returns and successes are counted correctly in every autoreset mode."""

import gymnasium as gym
import numpy as np
import pytest
from evaluation_envs import ConstantPolicy, ShortSuccess, UnreportedSuccess
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robossl.core.errors import UsageError
from robossl.evaluation import control
from robossl.evaluation.control import episodes_per_env, evaluate_returns


def make_envs(num_envs, mode, env_class=ShortSuccess):
    return SyncVectorEnv([env_class] * num_envs, autoreset_mode=mode)


def zero_policy(num_envs):
    return ConstantPolicy(np.zeros(1, np.float32), num_envs)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_every_episode_is_counted_completely_and_once(mode, num_envs):
    found = evaluate_returns(make_envs(num_envs, mode), zero_policy(num_envs), episodes=25)
    assert len(found.returns) == 25
    np.testing.assert_array_equal(found.lengths, np.where(found.successes, 2, 30))
    np.testing.assert_array_equal(found.returns, found.lengths)  # reward 1 per step, none for a reset
    np.testing.assert_array_equal(found.successes, found.any_success)


@pytest.mark.parametrize("num_envs", [1, 40, 150])
def test_short_successes_are_not_over_represented(num_envs):
    rates = [
        evaluate_returns(
            make_envs(num_envs, AutoresetMode.SAME_STEP), zero_policy(num_envs), 150, seed
        ).successes.mean()
        for seed in range(6)
    ]
    assert np.mean(rates) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(6 * 150))


def test_counting_the_first_episodes_that_finish_overestimates_success():
    envs, first = make_envs(40, AutoresetMode.SAME_STEP), []
    envs.reset(seed=0)
    while len(first) < 20:
        _, _, terminated, truncated, _ = envs.step(np.zeros((40, 1), np.float32))
        first += list(terminated[terminated | truncated])
    assert np.mean(first[:20]) > 0.75


def test_all_autoreset_modes_give_the_same_episodes():
    found = [
        evaluate_returns(make_envs(5, mode), zero_policy(5), 30, seed=2).lengths for mode in AutoresetMode
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_policy_is_reset_at_each_new_episode(mode):
    policy = zero_policy(4)
    found = evaluate_returns(make_envs(4, mode), policy, episodes=4)
    assert len(found.lengths) == 4
    assert policy.resets.min() >= 1
    single = zero_policy(1)
    evaluate_returns(make_envs(1, mode), single, episodes=3)
    assert single.resets[0] == (3 if mode == AutoresetMode.NEXT_STEP else 4)  # the others are reset at once


@pytest.mark.parametrize(("episodes", "num_envs"), [(10, 4), (3, 8), (8, 8), (1, 1)])
def test_episodes_are_distributed_evenly(episodes, num_envs):
    quota = episodes_per_env(episodes, num_envs)
    assert quota.sum() == episodes
    assert quota.max() - quota.min() <= 1


def test_env_without_is_success_has_no_success_rate():
    found = evaluate_returns(make_envs(3, AutoresetMode.NEXT_STEP, UnreportedSuccess), zero_policy(3), 6)
    assert found.successes is None
    assert set(found.summary()) == {"return", "length"}


def test_summary_has_estimates_that_depend_on_the_seed():
    envs = make_envs(3, AutoresetMode.NEXT_STEP)
    summaries = [evaluate_returns(envs, zero_policy(3), 50, seed).summary(seed) for seed in (1, 1, 2)]
    assert summaries[0] == summaries[1] != summaries[2]
    assert summaries[0]["success"]["n"] == 50
    assert 2 <= summaries[0]["return"]["low"] <= summaries[0]["return"]["high"] <= 30


class EpisodesOfLengths(gym.Env):
    """An env with one episode of each length."""

    observation_space = action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, lengths):
        self.lengths = iter(lengths)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = next(self.lengths)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, False, self.left == 0, {}


def test_only_episodes_that_count_must_end(monkeypatch):
    monkeypatch.setattr(control, "_MAX_EPISODE_STEPS", 35)

    def evaluate(*lengths):
        envs = SyncVectorEnv(
            [lambda each=each: EpisodesOfLengths(each) for each in lengths],
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        return evaluate_returns(envs, zero_policy(2), 3).lengths.tolist()

    assert evaluate((30, 20, 99), (2, 99)) == [30, 20, 2]
    with pytest.raises(UsageError, match="the episode of sub-environment 1 did not end within 35 steps"):
        evaluate((30, 20, 99), (99,))


def test_zero_episodes_are_refused():
    with pytest.raises(UsageError, match="at least 1 episode, got 0"):
        evaluate_returns(make_envs(1, AutoresetMode.NEXT_STEP), zero_policy(1), 0)
