"""Stable-Baselines3 accepts every env, and learns through `SB3VecEnv` inside its own wrappers."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from compat_ids import IDS
from robossl.agents import SB3VecEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize, VecVideoRecorder

pytest.importorskip("moviepy", reason="make compat installs moviepy, which SB3 needs for videos")
NUM_ENVS = 2
LIMIT = 10  # [steps] of an episode


@pytest.mark.parametrize("env_id", IDS)
def test_the_sb3_checker_passes(env_id) -> None:
    """Rendering is included; every warning is an error."""
    check_env(gym.make(env_id, render_mode="rgb_array", render_size=(48, 64)).unwrapped)


@pytest.mark.filterwarnings(
    "ignore:The environment is already wrapped with a `Monitor`"
)  # SB3VecEnv reports episodes as well
@pytest.mark.filterwarnings("ignore::DeprecationWarning:(moviepy|imageio|decorator).*")
@pytest.mark.parametrize("kind", [PPO, SAC])
@pytest.mark.parametrize("env_id", IDS)
def test_sb3_learns_inside_its_wrappers(env_id, kind, tmp_path) -> None:
    envs = gym.make_vec(
        env_id,
        num_envs=NUM_ENVS,
        nthread=1,
        max_episode_steps=LIMIT,
        autoreset_mode="SameStep",
        render_mode="rgb_array",
        render_size=(48, 64),
    )
    monitored = VecMonitor(SB3VecEnv(envs))
    recorded = VecVideoRecorder(monitored, str(tmp_path), lambda step: step == 0, video_length=8)
    keys = None if isinstance(envs.single_observation_space, gym.spaces.Box) else ["observation"]
    normalized = VecNormalize(recorded, norm_obs_keys=keys)
    own = {"n_steps": 16, "batch_size": 16, "n_epochs": 1} if kind is PPO else {"learning_starts": 10}
    agent = kind("MlpPolicy" if keys is None else "MultiInputPolicy", normalized, seed=0, device="cpu", **own)
    agent.learn(48)
    assert agent.num_timesteps >= 48
    assert all(info["l"] == LIMIT for info in agent.ep_info_buffer)
    assert len(agent.ep_info_buffer) >= 4
    assert np.isfinite([info["r"] for info in agent.ep_info_buffer]).all()
    normalized.close()
    assert [file.stat().st_size > 500 for file in tmp_path.glob("*.mp4")] == [True]
