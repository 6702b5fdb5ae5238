"""The dream among others' tools: Gymnasium's vector wrappers, SB3's algorithms, and why it ended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    DictInfoToList,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from robossl.agents.sb3.vec_env import SB3VecEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from robossl.world_model.env import WorldModelEnv

MODES = pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
HORIZON = 4


def one(observation, action, after):
    """A reward of 1 a step."""
    return np.ones(len(after))


def lived(env, mode: AutoresetMode, steps: int = 16):
    """Everything the steps gave, with the lanes reset by hand where nobody else does."""
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(steps):
        step = env.step(env.action_space.sample())
        yield step
        if mode is AutoresetMode.DISABLED and step[3].any():
            env.reset(options={"reset_mask": step[3]})


@MODES
def test_episode_statistics_are_kept(world, mode) -> None:
    dream = WorldModelEnv(world[0], world[1], 3, HORIZON, one, max_disagreement=np.inf, autoreset_mode=mode)
    env = RecordEpisodeStatistics(dream)
    assert env.metadata["autoreset_mode"] is mode
    ended = 0
    for _, _, _, truncated, infos in lived(env, mode):
        if truncated.any():
            told = infos["episode"]
            assert told["l"].tolist() == [HORIZON] * 3
            assert told["r"].tolist() == [float(HORIZON)] * 3
            ended += 1
    assert ended >= 3


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward, DictInfoToList])
def test_wrappers_take_it(world, wrapper) -> None:
    """In NEXT_STEP mode, the only one that Gymnasium's own normalising of observations knows."""
    mode = AutoresetMode.NEXT_STEP
    env = wrapper(
        WorldModelEnv(world[0], world[1], 3, HORIZON, one, max_disagreement=np.inf, autoreset_mode=mode)
    )
    seen = list(lived(env, mode))
    assert all(np.isfinite(step[0]).all() and np.isfinite(step[1]).all() for step in seen)
    assert sum(step[3].any() for step in seen) >= 3


@MODES
def test_ppo_learns_in_it(world, mode) -> None:
    dream = WorldModelEnv(world[0], world[1], 4, 10, one, autoreset_mode=mode)
    envs = VecNormalize(SB3VecEnv(dream))
    agent = PPO(
        "MlpPolicy",
        envs,
        n_steps=16,
        batch_size=32,
        n_epochs=2,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        device="cpu",
    )
    before = [p.detach().clone() for p in agent.policy.parameters()]
    agent.learn(128)
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters()))
    assert agent.ep_info_buffer
    assert max(episode["l"] for episode in agent.ep_info_buffer) <= 10


@MODES
def test_it_says_why_it_ended(world, mode) -> None:
    """A lane that is no longer believed ends at once, its neighbours at the horizon; each says so."""
    env = WorldModelEnv(world[0], world[1], 3, HORIZON, autoreset_mode=mode)
    _, infos = env.reset(seed=0)
    assert infos["truncation_reason"].tolist() == ["", "", ""]
    wild = env.z.numpy().copy()
    anything = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    wild[1] = anything[env.model.disagreement(anything, np.zeros((50, 2))).argmax()]
    env.set_checkpoint({**env.get_checkpoint(), "z": wild})
    action = np.zeros((3, 2), np.float32)
    doubt = env.model.disagreement(wild, action)
    assert doubt[1] > doubt[[0, 2]].max()
    env.max_disagreement = (doubt[1] + doubt[[0, 2]].max()) / 2
    _, _, terminated, truncated, infos = env.step(action)
    said = infos.get("final_info", infos)
    assert not terminated.any()
    assert truncated.tolist() == [False, True, False]
    assert said["truncation_reason"].tolist() == ["", "uncertainty", ""]
    np.testing.assert_allclose(said["disagreement"], doubt, rtol=1e-4)
    env.max_disagreement = np.inf
    for _ in range(HORIZON - 1):
        if mode is AutoresetMode.DISABLED and truncated.any():
            env.reset(options={"reset_mask": truncated})
        _, _, terminated, truncated, infos = env.step(action)
    assert not terminated.any()
    assert truncated[[0, 2]].all()
    assert infos.get("final_info", infos)["truncation_reason"][[0, 2]].tolist() == ["horizon"] * 2


@MODES
def test_sb3_is_told_why_and_bootstraps(world, mode) -> None:
    """An end in the dream is never a true one: SB3 has to look beyond it."""
    envs = SB3VecEnv(
        WorldModelEnv(world[0], world[1], 2, HORIZON, one, max_disagreement=np.inf, autoreset_mode=mode)
    )
    envs.reset()
    for _ in range(HORIZON):
        _, _, done, infos = envs.step(np.array([envs.action_space.sample() for _ in range(2)]))
    assert done.all()
    for info in infos:
        assert info["TimeLimit.truncated"]
        assert info["truncation_reason"] == "horizon"
        assert info["terminal_observation"].shape == (4,)
