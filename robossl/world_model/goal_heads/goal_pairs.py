"""Pairs of a time step and a later goal of the same episode, and latents imagined from recorded actions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robossl.world_model.goal_heads.heads import GoalHeads
from robossl.world_model.goal_heads.latent_table import LatentTable
from robossl.world_model.model import WorldModel

_IMAGINED_STEPS = 12  # [steps] longest imagined rollout
_IMAGINED_STARTS = 4096


class GoalPairs:
    """Pairs of a time step and a later time step of the same episode of a latent table."""

    def __init__(self, heads: GoalHeads, table: LatentTable, random: np.random.Generator) -> None:
        """Draw from `table` with `random`; the steps are at most those of `heads`."""
        self.table, self.random, self._starts = table, random, table.starts
        self._max_steps, self._device = heads.max_steps, heads.device
        self.goals = heads.normalize_goal(table.goal) if heads.has_goals else table.z  # (N, G)

    def draw(self, count: int, shortest: int) -> tuple[Tensor, Tensor]:
        """Return rows (count,) and steps (count,) to their goals, see `draw_steps`."""
        rows = self._starts[self.random.integers(len(self._starts), size=count)]
        return torch.from_numpy(rows).to(self._device), self.draw_steps(rows, shortest)

    def draw_steps(self, rows: np.ndarray, shortest: int) -> Tensor:
        """Return steps (n,) from rows (n,) to goals, uniform from `shortest` to K or the end of the episode."""
        longest = np.minimum(self.table.steps_left[rows], self._max_steps)
        steps = shortest + np.floor(self.random.random(len(rows)) * (longest - shortest + 1)).astype(np.int64)
        return torch.from_numpy(steps).to(self._device)

    def draw_rows(self, count: int) -> Tensor:
        """Return rows (count,) of any episode."""
        return torch.from_numpy(self.random.integers(len(self.goals), size=count)).to(self._device)


@torch.no_grad()
def imagine_table(
    model: WorldModel, table: LatentTable, random: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Return latents (M, Z) imagined with recorded actions from earlier steps, and the rows (M,) that they predict."""
    steps = min(_IMAGINED_STEPS, int(table.steps_left.max()))
    candidates = np.flatnonzero(table.steps_left >= steps)
    starts = candidates[random.integers(len(candidates), size=min(_IMAGINED_STARTS, len(candidates)))]
    z = table.z[torch.from_numpy(starts).to(model.device)]
    latents, rows = [], []
    for t in range(steps):
        z = model.step(z, table.action[torch.from_numpy(starts + t).to(model.device)], "first")
        latents.append(z)
        rows.append(starts + t + 1)
    return torch.cat(latents), np.concatenate(rows)
