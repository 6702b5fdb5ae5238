"""TorchRL reads the envs of RepresentationWrapper, single and vectorized."""

from __future__ import annotations

import gymnasium as gym
import pytest

import robossl

torchrl_envs = pytest.importorskip("torchrl.envs", reason="make compat installs TorchRL")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_specs_of_a_wrapped_env_and_of_a_wrapped_vector_env() -> None:
    model = robossl.from_pretrained("reacher")
    env = torchrl_envs.GymWrapper(robossl.RepresentationWrapper(gym.make("robossl/Reacher-v0"), model))
    torchrl_envs.check_env_specs(env, seed=0)
    assert env.rollout(12)["observation"].shape == (12, env.observation_spec["observation"].shape[0])
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, nthread=1, autoreset_mode="SameStep")
    batch = torchrl_envs.GymWrapper(robossl.RepresentationVectorWrapper(envs, model))
    assert batch.rollout(12, break_when_any_done=False).batch_size == (3, 12)
