"""Predicted terminations: of recorded steps, in imagined rollouts, and in the costs of a planner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from robossl.agents.shared.actor_critic import ActorCritic, ActorCriticConfig
from robossl.agents.shared.latent_state import LatentState
from robossl.agents.shared.planning_costs import ImaginedTrajectories
from robossl.agents.shared.reward_costs import PessimisticValue, PredictedReward
from world_model_toys import ToyStream, linear

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.world_model import RewardModel, WorldModel, WorldModelEnv
from robossl.world_model.labeled_steps import read_labeled_steps

_LIMIT = 1.5  # an episode ends where the first position is beyond it


def ending(episodes: int = 300) -> ToyStream:
    """Return a stream whose steps end an episode beyond a position, with the position as reward."""
    stream = linear(episodes)
    stream.reward[:] = stream.observation[:, 1:, 0]
    stream.terminated = stream.observation[:, 1:, 0] > _LIMIT
    return stream


@pytest.fixture(scope="module")
def reward(trained) -> RewardModel:
    model: WorldModel = trained[0]
    return RewardModel(model, ending(), updates=400)


def test_steps_that_end_an_episode_are_found(trained, reward) -> None:
    heldout = read_labeled_steps(trained[0], ending(), None, 1, "validation")
    predicted, recorded = reward.ends_episode(heldout.z, heldout.action), heldout.terminated > 0
    assert 0.03 < recorded.float().mean() < 0.4
    assert predicted[recorded].float().mean() > 0.9
    assert predicted[~recorded].float().mean() < 0.05


def test_nothing_ends_where_nothing_ended(trained) -> None:
    stream = linear()
    stream.reward[:] = stream.observation[:, 1:, 0]
    reward = RewardModel(trained[0], stream, updates=5)
    assert reward.termination is None
    assert not reward.ends_episode(torch.zeros(3, trained[0].latent_dim), torch.zeros(3, 2)).any()


def test_equal_rewards_count_the_steps_of_episodes_that_end(trained) -> None:
    stream = ending()
    stream.reward[:] = 1.0
    reward = RewardModel(trained[0], stream, updates=200)
    heldout = read_labeled_steps(trained[0], stream, None, 1, "validation")
    torch.testing.assert_close(
        reward.of_latents(heldout.z, heldout.action), torch.ones(len(heldout.z)), atol=0.1, rtol=0
    )
    assert (reward.std, reward.termination is None) == (1.0, False)
    stream.terminated[:] = False
    with pytest.raises(UsageError, match="got 1 in all"):
        RewardModel(trained[0], stream, updates=5)


def test_checkpoint_restores_terminations_and_may_have_none(trained, reward, tmp_path) -> None:
    tree = reward.get_checkpoint()
    save_tree(tmp_path / "reward.safetensors", tree)
    loaded = RewardModel.from_checkpoint(trained[0], load_tree(tmp_path / "reward.safetensors"))
    z, action = torch.randn(50, trained[0].latent_dim), torch.rand(50, 2)
    assert torch.equal(reward.ends_episode(z, action), loaded.ends_episode(z, action))
    older = RewardModel.from_checkpoint(trained[0], {k: v for k, v in tree.items() if k != "termination"})
    assert older.termination is None


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_imagined_episodes_end_where_recorded_ones_do(trained, reward, mode) -> None:
    env = WorldModelEnv(
        trained[0], ending(), 64, 12, reward, max_disagreement=np.inf, autoreset_mode=mode, split=None
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    ended, elapsed = 0, np.zeros(64, int)
    for _ in range(30):
        resets = env.ended.copy()
        before, action = env.z.clone(), env.action_space.sample()
        if mode == AutoresetMode.DISABLED and resets.any():
            env.reset(options={"reset_mask": resets})
            before = env.z.clone()
        _, _, terminated, truncated, infos = env.step(action)
        expected = reward.ends_episode(before, env.model.action_processor(action)).numpy()
        if mode == AutoresetMode.NEXT_STEP:
            expected &= ~resets
        assert np.array_equal(terminated, expected)
        assert not (terminated & truncated).any()
        assert np.array_equal(infos["truncation_reason"] != "", truncated)
        if mode == AutoresetMode.SAME_STEP:
            assert np.array_equal(infos.get("_final_obs", np.zeros(64, bool)), terminated | truncated)
        ended += int(terminated.sum())
        elapsed += 1
    assert ended > 20


def test_plan_earns_nothing_after_the_end_of_its_episode(trained, reward) -> None:
    model = trained[0]
    state = LatentState(model, reward, None)
    labeled = read_labeled_steps(model, ending(), None, 0)
    end, other = (int((labeled.terminated == value).nonzero()[0, 0]) for value in (1, 0))
    rows = [end, other]
    assert reward.ends_episode(labeled.z[rows], labeled.action[rows]).tolist() == [True, False]
    calm = labeled.z[other].expand(2, 2, -1)  # all later steps begin where no episode ends
    action = torch.stack([labeled.action[rows], labeled.action[[other, other]]], 1)  # (2, 2, A)
    imagined = ImaginedTrajectories(calm, action, torch.zeros(2, 1), labeled.z[rows])
    with torch.no_grad():
        cost = PredictedReward(reward, state, 0.9)(imagined)
        critics = ActorCritic(model.latent_dim, 2, ActorCriticConfig((8,), 2), 0, model.device)
        value = PessimisticValue(critics, reward, state)(imagined)
    assert cost[0, 0] != 0  # the last step is rewarded
    assert cost[0, 1] == 0
    assert cost[1, 1] != 0
    assert value[0, -1] == 0
    assert value[1, -1] != 0
