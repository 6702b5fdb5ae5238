"""WorldModelEnv works with Gymnasium's vector wrappers and with SB3, and reports why episodes end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import (
    DictInfoToList,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from robossl.agents.sb3.vec_env import SB3VecEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from robossl.world_model import WorldModelEnv

MODES = pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
HORIZON = 4


def constant_reward(observation, action, next_observation) -> np.ndarray:
    return np.ones(len(next_observation))


def make_env(trained, mode: AutoresetMode, num_envs: int = 3) -> WorldModelEnv:
    """Return an env that truncates at the horizon only."""
    return WorldModelEnv(
        *trained, num_envs, HORIZON, constant_reward, max_disagreement=np.inf, autoreset_mode=mode
    )


def steps_of(env: VectorEnv, mode: AutoresetMode, steps: int = 16) -> Iterator[tuple]:
    """Yield the results of random steps; with disabled autoreset, ended episodes are reset here."""
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        yield result
        if mode is AutoresetMode.DISABLED and result[3].any():
            env.reset(options={"reset_mask": result[3]})


@MODES
def test_episode_statistics_are_recorded(trained, mode) -> None:
    env = RecordEpisodeStatistics(make_env(trained, mode))
    assert env.metadata["autoreset_mode"] is mode
    ended = 0
    for _, _, _, truncated, infos in steps_of(env, mode):
        if truncated.any():
            assert infos["episode"]["l"].tolist() == [HORIZON] * 3
            assert infos["episode"]["r"].tolist() == [float(HORIZON)] * 3
            ended += 1
    assert ended >= 3


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward, DictInfoToList])
def test_wrapper_works_in_next_step_mode(trained, wrapper) -> None:
    """NEXT_STEP is the only mode that Gymnasium's NormalizeObservation supports."""
    mode = AutoresetMode.NEXT_STEP
    results = list(steps_of(wrapper(make_env(trained, mode)), mode))
    assert all(np.isfinite(result[0]).all() and np.isfinite(result[1]).all() for result in results)
    assert sum(result[3].any() for result in results) >= 3


@MODES
def test_sb3_ppo_trains(trained, mode) -> None:
    env = WorldModelEnv(*trained, 4, 10, constant_reward, autoreset_mode=mode)
    agent = PPO(
        "MlpPolicy",
        VecNormalize(SB3VecEnv(env)),
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
def test_truncation_reason_is_reported_for_each_sub_environment(trained, mode) -> None:
    """An uncertain sub-environment is truncated at once, the others at the horizon."""
    env = WorldModelEnv(*trained, 3, HORIZON, autoreset_mode=mode)
    _, infos = env.reset(seed=0)
    assert infos["truncation_reason"].tolist() == ["", "", ""]
    z = env.z.numpy().copy()
    noise = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    z[1] = noise[env.model.disagreement(noise, np.zeros((50, 2))).argmax()]
    env.set_checkpoint({**env.get_checkpoint(), "z": z})
    action = np.zeros((3, 2), np.float32)
    disagreement = env.model.disagreement(z, action)
    assert disagreement[1] > disagreement[[0, 2]].max()
    env.max_disagreement = (disagreement[1] + disagreement[[0, 2]].max()) / 2
    _, _, terminated, truncated, infos = env.step(action)
    final = infos.get("final_info", infos)
    assert not terminated.any()
    assert truncated.tolist() == [False, True, False]
    assert final["truncation_reason"].tolist() == ["", "uncertainty", ""]
    np.testing.assert_allclose(final["disagreement"], disagreement, rtol=1e-4)
    env.max_disagreement = np.inf
    for _ in range(HORIZON - 1):
        if mode is AutoresetMode.DISABLED and truncated.any():
            env.reset(options={"reset_mask": truncated})
        _, _, terminated, truncated, infos = env.step(action)
    assert not terminated.any()
    assert truncated[[0, 2]].all()
    assert infos.get("final_info", infos)["truncation_reason"][[0, 2]].tolist() == ["horizon"] * 2


@MODES
def test_sb3_gets_truncations_with_the_final_observation(trained, mode) -> None:
    """Truncations of imagined episodes are never terminations, so SB3 bootstraps."""
    envs = SB3VecEnv(make_env(trained, mode, num_envs=2))
    envs.reset()
    for _ in range(HORIZON):
        _, _, done, infos = envs.step(np.array([envs.action_space.sample() for _ in range(2)]))
    assert done.all()
    for info in infos:
        assert info["TimeLimit.truncated"]
        assert info["truncation_reason"] == "horizon"
        assert info["terminal_observation"].shape == (4,)
