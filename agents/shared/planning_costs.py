"""Cost functions for planners: each returns a cost for every imagined step; a planner adds them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class ImaginedTrajectories(NamedTuple):
    """N imagined rollouts of T steps."""

    latent: Tensor  # [N, T, Z] after each action
    action: Tensor  # [N, T, A] in [-1, 1]
    goal: Tensor  # [N, Z]


Cost = Callable[[ImaginedTrajectories], Tensor]  # [N, T], the cost of each step


@dataclass(frozen=True)
class GoalDistance:
    """Mean squared latent distance to the goal at every step; rewards reaching it early and staying."""

    final_weight: float = 1.0  # extra weight of the last step; the weight rises linearly from 1

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]."""
        distance = (imagined.latent - imagined.goal[:, None]).square().mean(-1)
        return distance * torch.linspace(1.0, 1.0 + self.final_weight, distance.shape[1])


@dataclass(frozen=True)
class ControlCost:
    """Mean squared action of every step."""

    weight: float = 0.01

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]."""
        return self.weight * imagined.action.square().mean(-1)
