"""Losses of the goal heads: imitation and imagined cost of the inverse policy, temporal distance, achieved goal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.world_model.goal_heads.goal_pairs import GoalPairs, imagine_table
from robossl.world_model.goal_heads.heads import ACT_STEPS, GoalHeads
from robossl.world_model.goal_heads.latent_table import LatentTable
from robossl.world_model.model import WorldModel

_RANDOM_GOALS = 0.25  # fraction of the goals of the distance that are drawn from any episode
_IMPROVED = 0.25  # of the batch size: imagined rollouts of the inverse policy, which are slow
_GOAL_WEIGHT = 0.3  # of the distance of the achieved goal, beside the temporal distance
_CONSTANT = 1e-6  # an action with a smaller standard deviation is constant


class Losses(NamedTuple):
    """Losses of one batch."""

    inverse: (
        Tensor  # error of recorded actions, in units of their variance; cross-entropy of Discrete actions
    )
    improvement: Tensor  # cost after imagined actions of the inverse policy; 0 if it is not trained yet
    distance: Tensor
    readout: Tensor


class HeadLosses:
    """Losses over batches of a latent table."""

    def __init__(
        self,
        model: WorldModel,
        heads: GoalHeads,
        table: LatentTable,
        random: np.random.Generator,
        batch_size: int,
    ) -> None:
        """Create the losses of `heads`; `model` is frozen, and `random` draws the batches."""
        self.model, self.heads, self.random, self.batch_size = model, heads, random, batch_size
        self.pairs = GoalPairs(heads, table, random)
        self.imagined_z, self.imagined_rows = imagine_table(model, table, random)
        std = table.action[torch.from_numpy(table.starts).to(model.device)].std(0, correction=0)  # (A,)
        self.action_scale = torch.where(std > _CONSTANT, std, torch.ones_like(std))

    def draw(self, improve: bool) -> Losses:
        """Return the losses of one batch.

        Args:
            improve: Whether the inverse policy also reduces the imagined cost, which needs a fitted distance.
        """
        improvement = self._improvement() if improve else torch.zeros((), device=self.heads.device)
        return Losses(self._inverse(), improvement, *self._distance_and_readout())

    def _inverse(self) -> Tensor:
        """Return the error of the inverse policy on recorded actions, given the goal achieved k steps later."""
        pairs = self.pairs
        rows, steps = pairs.draw(self.batch_size, shortest=1)
        output = self.heads.inverse(
            pairs.table.z[rows], pairs.goals[rows], pairs.goals[rows + steps], steps.float()
        )
        action = pairs.table.action[rows]
        if self.model.action_processor.discrete:
            return F.cross_entropy(output, action.argmax(-1))
        return ((output - action) / self.action_scale).square().mean()

    def _improvement(self) -> Tensor:
        """Return the cost after the action of the inverse policy was held for a few imagined steps.

        The gradient passes through the frozen dynamics and the frozen distance. Half of the goals are later in the same
        episode, half from any episode: imitation alone knows no action towards goals beyond a few steps.
        """
        heads, pairs, count = self.heads, self.pairs, max(int(_IMPROVED * self.batch_size), 2)
        rows, steps = pairs.draw(count, shortest=1)
        goal = pairs.goals[rows + steps]
        goal[::2] = pairs.goals[pairs.draw_rows((count + 1) // 2)]
        z = pairs.table.z[rows]
        output = heads.inverse(
            z, pairs.goals[rows], goal, torch.full((count,), float(ACT_STEPS), device=z.device)
        )
        action, excess = self._feasible(output)
        cost = excess
        with _frozen(heads, "distance", "readout"):
            for _ in range(ACT_STEPS):
                z = self.model.step(z, action, "first")
                cost = cost + _GOAL_WEIGHT / ACT_STEPS * (heads.achieved(z) - goal).square().mean()
            return cost + heads.log_distance(z, goal).mean()

    def _feasible(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return encoded actions with gradients of network outputs, and a penalty of outputs beyond the bounds."""
        if (
            self.model.action_processor.discrete
        ):  # straight-through: one-hot, with the gradient of the probabilities
            probability = output.softmax(-1)
            chosen = F.one_hot(output.argmax(-1), output.shape[-1]).float()
            return chosen + probability - probability.detach(), output.new_zeros(())
        clipped = output.clamp(-1, 1)
        return clipped, (output - clipped.detach()).square().mean()

    def _distance_and_readout(self) -> tuple[Tensor, Tensor]:
        """Return the errors of distance and readout; half of the latents are imagined."""
        heads, pairs, half = self.heads, self.pairs, self.batch_size // 2
        rows, steps = pairs.draw(half, shortest=0)
        chosen = self.random.integers(len(self.imagined_z), size=half)
        later = self.imagined_rows[chosen]
        later_steps = pairs.draw_steps(later, shortest=0)
        z = torch.cat([pairs.table.z[rows], self.imagined_z[torch.from_numpy(chosen).to(heads.device)]])
        rows = torch.cat([rows, torch.from_numpy(later).to(heads.device)])
        steps = torch.cat([steps, later_steps])
        goal, target = pairs.goals[rows + steps], steps.float().log1p()
        every = round(1 / _RANDOM_GOALS)
        goal[::every] = pairs.goals[pairs.draw_rows(len(goal[::every]))]
        target[::every] = math.log1p(2 * heads.max_steps)  # seldom within K steps
        distance = (heads.log_distance(z, goal) - target).square().mean()
        if not heads.has_goals:
            return distance, torch.zeros_like(distance)
        return distance, (heads.achieved(z) - pairs.goals[rows]).square().mean()


@contextmanager
def _frozen(heads: GoalHeads, *names: str) -> Iterator[None]:
    """Compute no gradients of the weights of some networks, only of their inputs."""
    networks = [heads.networks[name] for name in names if name in heads.networks]
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
