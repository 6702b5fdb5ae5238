"""Gymnasium's own vector wrappers work on every id, and change nothing but what they say."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    ClipReward,
    FlattenObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    RescaleAction,
)

IDS = robossl.envs.register()
LIMIT = 5  # [steps] of an episode
LANES = 3


def made(env_id: str, **settings):
    return gym.make_vec(env_id, num_envs=LANES, max_episode_steps=LIMIT, nthread=1, **settings)


def played(envs, steps: int = 2 * LIMIT + 3) -> list:
    """What came of the same random actions in [-1, 1]."""
    random = np.random.default_rng(0)
    low, high = envs.action_space.low, envs.action_space.high
    envs.reset(seed=0)
    told = []
    for _ in range(steps):
        share = random.uniform(0, 1, envs.action_space.shape)
        told.append(envs.step((low + share * (high - low)).astype(np.float32)))
    return told


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_counted(env_id, mode) -> None:
    plain = played(made(env_id, autoreset_mode=mode))
    counted = played(RecordEpisodeStatistics(made(env_id, autoreset_mode=mode)))
    ends = [step[4]["episode"] for step in counted if "episode" in step[4]]
    assert len(ends) == 2
    assert all((end["l"] == LIMIT).all() for end in ends)
    np.testing.assert_allclose(ends[0]["r"], sum(step[1] for step in plain[:LIMIT]))


@pytest.mark.parametrize("env_id", IDS)
def test_actions_and_rewards_are_rescaled_and_clipped(env_id) -> None:
    plain = played(made(env_id))
    ones = np.ones(gym.make(env_id).action_space.shape, np.float32)
    wrapped = played(ClipReward(RescaleAction(made(env_id), 0 * ones, ones), max_reward=0.01))
    for one, other in zip(plain, wrapped):
        np.testing.assert_allclose(other[1], np.minimum(one[1], 0.01), atol=1e-4)
        assert np.array_equal(one[3], other[3])


@pytest.mark.parametrize("env_id", IDS)
def test_observations_and_rewards_are_normalised(env_id) -> None:
    flat = FlattenObservation(made(env_id))
    assert flat.reset(seed=0)[0] in flat.observation_space
    for observation, reward, *_ in played(NormalizeReward(NormalizeObservation(flat)), 40):
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()
    centre, spread = observation.mean(), np.abs(observation).max()
    assert abs(centre) < 2
    assert spread < 10
