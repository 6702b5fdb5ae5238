"""States of actor-critics on a world model: the latent, and in a goal env the goals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robossl.core.interfaces import Observation
from robossl.core.spaces import is_goal_space
from robossl.world_model import WorldModel
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED, GoalPredictor
from robossl.world_model.reward_model import RewardModel, scaled_goal


class LatentState:
    """State (n, S) = [z, achieved goal, desired goal, desired - achieved], goals in units of the reward model.

    Without goals it is z alone.

    Args:
        model: The world model.
        reward: Its reward model, or None in an env without goals.
        goals: Predicts achieved goals of imagined latents; only in a goal env.
    """

    def __init__(self, model: WorldModel, reward: RewardModel | None, goals: GoalPredictor | None) -> None:
        self.model, self.reward, self.goals = model, reward, goals

    @staticmethod
    def size(model: WorldModel) -> int:
        """Return S."""
        space = model.observation_space
        if not (is_goal_space(space) and isinstance(space, spaces.Dict)):
            return model.latent_dim
        return model.latent_dim + 3 * int(np.prod(space[DESIRED].shape or (1,)))

    def of_observation(self, z: Tensor, observation: Observation) -> Tensor:
        """Return states (n, S) of latents (n, Z) and the observation they encode; only its goals are read."""
        if self.goals is None:
            return z
        achieved, desired = (self.scale(observation[name]) for name in (ACHIEVED, DESIRED))
        return self._join(z, achieved, desired)

    def of_latents(self, z: Tensor, desired: Tensor) -> Tensor:
        """Return states (n, S) of imagined latents (n, Z) and desired goals (n, G), scaled."""
        return z if self.goals is None else self._join(z, self.achieved(z), desired)

    def achieved(self, z: Tensor) -> Tensor:
        """Return the predicted achieved goals (n, G), scaled, of latents (n, Z)."""
        assert self.goals is not None
        assert self.reward is not None
        inputs = z if self.model.decoder is None else self.model.decoder(z)
        scale = torch.as_tensor(self.reward.goal_scale, dtype=torch.float32, device=z.device)
        return self.goals.achieved_tensor(inputs) / scale

    def scale(self, goal: Any) -> Tensor:
        """Return env goals (n, *G) as a tensor (n, G), scaled."""
        assert self.reward is not None
        return scaled_goal(goal, self.reward.goal_scale, self.model.device)

    @staticmethod
    def _join(z: Tensor, achieved: Tensor, desired: Tensor) -> Tensor:
        return torch.cat([z, achieved, desired, desired - achieved], -1)
