"""TorchRL's check of specs passes for every id, as a single env and as a native vector env."""

from __future__ import annotations

import gymnasium as gym
import pytest
from compat_ids import IDS, PLAIN

torchrl_envs = pytest.importorskip("torchrl.envs", reason="make compat installs TorchRL")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("env_id", IDS)
def test_specs_of_a_single_env(env_id) -> None:
    env = torchrl_envs.GymWrapper(gym.make(env_id))
    torchrl_envs.check_env_specs(env, seed=0)
    rollout = env.rollout(12)
    assert rollout.batch_size == (12,)


@pytest.mark.parametrize(
    ("env_id", "mode"), [(i, "Disabled") for i in IDS] + [(i, "SameStep") for i in PLAIN]
)
def test_specs_of_a_native_vector_env(env_id, mode) -> None:
    """Goal envs only with autoreset disabled: TorchRL cannot read the final observation of a Dict in SAME_STEP mode."""
    envs = gym.make_vec(env_id, num_envs=3, nthread=1, max_episode_steps=5, autoreset_mode=mode)
    env = torchrl_envs.GymWrapper(envs)
    assert env.batch_size == (3,)
    torchrl_envs.check_env_specs(env, seed=0)
    rollout = env.rollout(12, break_when_any_done=False)
    assert rollout.batch_size == (3, 12)
    assert rollout["next", "done"].sum() == 6, "two episodes of five steps in each sub-environment"
