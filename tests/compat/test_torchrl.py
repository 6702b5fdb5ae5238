"""TorchRL's own check of specs, on every id, as a single env and as a native batch."""

from __future__ import annotations

import gymnasium as gym
import pytest
from compat_ids import IDS, PLAIN

torchrl_envs = pytest.importorskip("torchrl.envs", reason="make judges installs TorchRL")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("env_id", IDS)
def test_a_single_env_keeps_its_specs(env_id) -> None:
    env = torchrl_envs.GymWrapper(gym.make(env_id))
    torchrl_envs.check_env_specs(env, seed=0)
    rollout = env.rollout(12)
    assert rollout.batch_size == (12,)


@pytest.mark.parametrize(
    ("env_id", "mode"), [(i, "Disabled") for i in IDS] + [(i, "SameStep") for i in PLAIN]
)
def test_a_native_batch_keeps_its_specs(env_id, mode) -> None:
    """Of the goal ids not in SAME_STEP: TorchRL cannot read the final observation of a Dict, of nobody's envs."""
    envs = gym.make_vec(env_id, num_envs=3, nthread=1, max_episode_steps=5, autoreset_mode=mode)
    env = torchrl_envs.GymWrapper(envs)
    assert env.batch_size == (3,)
    torchrl_envs.check_env_specs(env, seed=0)
    rollout = env.rollout(12, break_when_any_done=False)
    assert rollout.batch_size == (3, 12)
    assert rollout["next", "done"].sum() == 6, "two episodes of five steps in each lane"
