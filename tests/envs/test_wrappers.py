"""Gymnasium's vector wrappers work on every id and change only what they document."""

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
NUM_ENVS = 3


def make(env_id: str, **settings):
    return gym.make_vec(env_id, num_envs=NUM_ENVS, max_episode_steps=LIMIT, nthread=1, **settings)


def rollout(envs, steps: int = 2 * LIMIT + 3) -> list:
    """Return the transitions of fixed random actions, scaled to the action space."""
    random = np.random.default_rng(0)
    low, high = envs.action_space.low, envs.action_space.high
    envs.reset(seed=0)
    transitions = []
    for _ in range(steps):
        fraction = random.uniform(0, 1, envs.action_space.shape)
        transitions.append(envs.step((low + fraction * (high - low)).astype(np.float32)))
    return transitions


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", IDS)
def test_episode_statistics_are_recorded(env_id, mode) -> None:
    plain = rollout(make(env_id, autoreset_mode=mode))
    recorded = rollout(RecordEpisodeStatistics(make(env_id, autoreset_mode=mode)))
    ends = [step[4]["episode"] for step in recorded if "episode" in step[4]]
    assert len(ends) == 2
    assert all((end["l"] == LIMIT).all() for end in ends)
    np.testing.assert_allclose(ends[0]["r"], sum(step[1] for step in plain[:LIMIT]))


@pytest.mark.parametrize("env_id", IDS)
def test_actions_are_rescaled_and_rewards_clipped(env_id) -> None:
    plain = rollout(make(env_id))
    ones = np.ones(gym.make(env_id).action_space.shape, np.float32)
    wrapped = rollout(ClipReward(RescaleAction(make(env_id), 0 * ones, ones), max_reward=0.01))
    for one, other in zip(plain, wrapped):
        np.testing.assert_allclose(other[1], np.minimum(one[1], 0.01), atol=1e-4)
        assert np.array_equal(one[3], other[3])


@pytest.mark.parametrize("env_id", IDS)
def test_observations_and_rewards_are_normalized(env_id) -> None:
    flat = FlattenObservation(make(env_id))
    assert flat.reset(seed=0)[0] in flat.observation_space
    for observation, reward, *_ in rollout(NormalizeReward(NormalizeObservation(flat)), 40):
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()
    assert abs(observation.mean()) < 2
    assert np.abs(observation).max() < 10
