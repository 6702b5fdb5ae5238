"""What a plan should avoid, as costs of each imagined step; a planner adds up those it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class ImaginedTrajectories(NamedTuple):
    """N imagined futures of T steps."""

    latent: Tensor  # [N, T, Z] after each action
    action: Tensor  # [N, T, A] in [-1, 1]
    goal: Tensor  # [N, Z]


Cost = Callable[[ImaginedTrajectories], Tensor]  # [N, T] of each step


@dataclass(frozen=True)
class GoalDistance:
    """Squared distance to the goal, the mean over the latent, of every step: soon there, and to stay there."""

    patience: float = 1.0  # how much heavier the last step weighs than the first

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """[N, T]."""
        distance = (imagined.latent - imagined.goal[:, None]).square().mean(-1)
        return distance * torch.linspace(1.0, 1.0 + self.patience, distance.shape[1])


@dataclass(frozen=True)
class ControlCost:
    """Effort: squared actions."""

    weight: float = 0.01

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """[N, T]."""
        return self.weight * imagined.action.square().mean(-1)
