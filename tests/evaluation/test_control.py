"""Returns and successes are counted right for every autoreset mode, and long episodes are not forgotten."""

import numpy as np
import pytest
from evaluation_envs import ConstantPolicy, ShortSuccess, Wordless
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robossl.core.errors import UsageError
from robossl.evaluation.control import episodes_per_env, evaluate_returns


def make(lanes, mode, kind=ShortSuccess):
    return SyncVectorEnv([kind] * lanes, autoreset_mode=mode)


def policy(lanes):
    return ConstantPolicy(np.zeros(1, np.float32), lanes)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_every_episode_is_counted_whole_and_once(mode, lanes):
    found = evaluate_returns(make(lanes, mode), policy(lanes), episodes=25)
    assert len(found.returns) == 25
    np.testing.assert_array_equal(found.lengths, np.where(found.successes, 2, 30))
    np.testing.assert_array_equal(found.returns, found.lengths)  # reward 1 a step, none for a reset
    np.testing.assert_array_equal(found.successes, found.reached)


@pytest.mark.parametrize("lanes", [1, 40, 150])
def test_short_successes_do_not_crowd_out_long_failures(lanes):
    rates = [
        evaluate_returns(make(lanes, AutoresetMode.SAME_STEP), policy(lanes), 150, seed).successes.mean()
        for seed in range(6)
    ]
    assert np.mean(rates) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(6 * 150))


def test_taking_the_first_that_finish_would_have_read_far_too_high():
    envs, first = make(40, AutoresetMode.SAME_STEP), []
    envs.reset(seed=0)
    while len(first) < 20:
        _, _, terminated, truncated, _ = envs.step(np.zeros((40, 1), np.float32))
        first += list(terminated[terminated | truncated])
    assert np.mean(first[:20]) > 0.75


def test_all_modes_see_the_same_lives():
    found = [evaluate_returns(make(5, mode), policy(5), 30, seed=2).lengths for mode in AutoresetMode]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_policy_is_told_of_each_new_episode(mode):
    acting = policy(4)
    found = evaluate_returns(make(4, mode), acting, episodes=4)
    assert len(found.lengths) == 4
    assert acting.begun.min() >= 1
    one = policy(1)
    evaluate_returns(make(1, mode), one, episodes=3)
    assert one.begun[0] == (3 if mode == AutoresetMode.NEXT_STEP else 4)  # the others are reset at once


@pytest.mark.parametrize(("episodes", "lanes"), [(10, 4), (3, 8), (8, 8), (1, 1)])
def test_quotas_are_fair_and_exact(episodes, lanes):
    quota = episodes_per_env(episodes, lanes)
    assert quota.sum() == episodes
    assert quota.max() - quota.min() <= 1


def test_an_env_that_does_not_tell_success_has_none():
    found = evaluate_returns(make(3, AutoresetMode.NEXT_STEP, Wordless), policy(3), 6)
    assert found.successes is None
    assert set(found.summary()) == {"return", "length"}


def test_the_summary_has_figures_and_the_seed_decides_them():
    envs = make(3, AutoresetMode.NEXT_STEP)
    summaries = [evaluate_returns(envs, policy(3), 50, seed).summary(seed) for seed in (1, 1, 2)]
    assert summaries[0] == summaries[1] != summaries[2]
    assert summaries[0]["success"]["n"] == 50
    assert 2 <= summaries[0]["return"]["low"] <= summaries[0]["return"]["high"] <= 30


def test_no_episodes_is_no_request():
    with pytest.raises(UsageError, match="0 episodes"):
        evaluate_returns(make(1, AutoresetMode.NEXT_STEP), policy(1), 0)
