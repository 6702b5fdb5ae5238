"""Costs of a planner that maximizes learned rewards and values of imagined rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robossl.world_model import RewardModel

from .actor_critic import ActorCritic
from .latent_state import LatentState
from .planning_costs import ImaginedTrajectories


@dataclass(frozen=True)
class PredictedReward:
    """Negative discounted reward of every step: -gamma^t r(z_t, a_t), in a goal env of the goals after the step."""

    reward: RewardModel
    state: LatentState
    gamma: float

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]; `imagined.goal` holds scaled desired goals."""
        latent, action = imagined.latent, imagined.action
        rewarded = torch.ones_like(latent[..., 0])  # [N, T] 0 after a step that ends the episode
        if self.reward.has_goals:
            desired = imagined.goal[:, None].expand(-1, latent.shape[1], -1)
            reward = self.reward.of_goals(self.state.achieved(latent), desired)
        else:
            assert imagined.start is not None
            before = torch.cat([imagined.start[:, None], latent[:, :-1]], 1)  # [N, T, Z]
            reward = self.reward.of_latents(before, action)
            rewarded[:, 1:] = _continues(self.reward, imagined)[:, :-1]
        return -reward * rewarded * self.gamma ** torch.arange(latent.shape[1], device=latent.device)


@dataclass(frozen=True)
class PessimisticValue:
    """Negative value after the last step: -gamma^T min_i Q_i(z_T, pi(z_T)), in the unit of the rewards.

    It is 0 where a step of the plan ended the episode.
    """

    actor_critic: ActorCritic
    reward: RewardModel  # the critics were trained on rewards divided by its standard deviation
    state: LatentState

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]; 0 before the last step."""
        cost = torch.zeros_like(imagined.latent[..., 0])
        value = self.actor_critic.value(self.state.of_latents(imagined.latent[:, -1], imagined.goal))
        if not self.reward.has_goals:
            value = value * _continues(self.reward, imagined)[:, -1]
        cost[:, -1] = -value * self.reward.std * self.actor_critic.config.gamma ** cost.shape[1]
        return cost


def _continues(reward: RewardModel, imagined: ImaginedTrajectories) -> Tensor:
    """Return [N, T]: 1 where no step up to this one ended the episode, else 0."""
    assert imagined.start is not None
    before = torch.cat([imagined.start[:, None], imagined.latent[:, :-1]], 1)  # [N, T, Z]
    return (~reward.ends_episode(before, imagined.action)).to(before.dtype).cumprod(1)
