"""A reward for the dream, learned afterwards from labelled rows: the world model never hears of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator
from robossl.core.spaces import flatten_by_path as parted
from robossl.core.spaces import is_goal_space, unflatten_by_path
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED
from robossl.world_model.model import WorldModel
from robossl.world_model.networks import MLP

_BATCH = 512
_RATE = 1e-3
_HIDDEN = (128, 128)


class RewardModel:
    """(observation, action, next observation) -> reward (n,): a small network on what the model normalises.

    In a goal env the reward is one of the goal achieved and the goal desired, as Gymnasium's convention has
    it; the network sees both and their difference, and `of_goals(achieved, desired)` is it (else None).
    `r2` is the share of the held-out reward's variance it explains; None where it does not vary there.
    """

    def __init__(self, model: WorldModel, stream: Any, updates: int = 1000, seed: int = 0) -> None:
        """Learn from the train split of `stream`. `RequestError` where it only observes images, or without reward."""
        self.goals = is_goal_space(model.observation_space)
        if not self.goals and not model.observations.vectors:
            raise UsageError("a reward is learned from vector observations; this model reads images only")
        self.goal_reward = self._goal_reward if self.goals else None
        self.model, self.stream = model, stream
        random = generator(seed, "world", "reward")
        self.scale = self._goal_scale(random)  # (G,) of goals
        seen, reward = self._draw(8 * _BATCH, random, "train")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "world", "reward"))
            self.network = MLP(seen.shape[-1], _HIDDEN, 1, model.config.linear_skip).to(model.device)
        self.mean, self.spread = float(reward.mean()), float(reward.std())
        if self.spread < 1e-8:
            raise UsageError(f"the reward is {self.mean:g} in all rows looked at; there is nothing to learn")
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=_RATE)
        for _ in range(updates):
            seen, reward = self._draw(_BATCH, random, "train")
            error = (self.network(seen)[:, 0] - (reward - self.mean) / self.spread).square().mean()
            optimiser.zero_grad(set_to_none=True)
            error.backward()
            optimiser.step()
        self.r2 = self._judge(random)

    def __call__(self, observation: Any, action: np.ndarray, after: Any) -> np.ndarray:
        """(n,) float64, in the env's own units."""
        return self._told(self._seen(observation, action, after))

    def _goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """(n,) float64 of goals (n, *G)."""
        return self._told(self._wish(achieved, desired))

    def _told(self, seen: Tensor) -> np.ndarray:
        with torch.no_grad():
            told = self.network(seen)[:, 0]
        return (told.cpu().numpy() * self.spread + self.mean).astype(np.float64)

    def _seen(self, observation: Any, action: Any, after: Any) -> Tensor:
        """[n, F] of n transitions."""
        if self.goals:
            return self._wish(after[ACHIEVED], observation[DESIRED])
        coder = self.model.observations
        before, then = (coder.vector(coder.parts(value)) for value in (observation, after))
        return torch.cat([before, self.model.actions(action), then], -1)

    def _wish(self, achieved: np.ndarray, desired: np.ndarray) -> Tensor:
        """[n, 3 G]."""
        there, wanted = (
            np.asarray(goal, np.float64).reshape(len(goal), -1) / self.scale for goal in (achieved, desired)
        )
        parts = np.concatenate([there, wanted, there - wanted], 1)
        return torch.as_tensor(parts, dtype=torch.float32, device=self.model.device)

    def _goal_scale(self, random: np.random.Generator) -> np.ndarray:
        """(G,): the root mean square of the goals desired; 1 where they are 0 or there are none."""
        if not self.goals:
            return np.ones(1)
        window = self.stream.windows(8 * _BATCH, 1, random, split="train")
        goals = np.asarray(window.observation[DESIRED][:, 0], np.float64)
        size = np.sqrt(np.square(goals.reshape(len(goals), -1)).mean(0))
        return np.where(size > 0, size, 1.0)

    def _draw(self, count: int, random: np.random.Generator, split: str) -> tuple[Tensor, Tensor]:
        window = self.stream.windows(count, 1, random, split=split)
        space = self.stream.observation_space
        parts = parted(space, window.observation)
        before, after = (
            unflatten_by_path(space, {path: rows[:, t] for path, rows in parts.items()}) for t in (0, 1)
        )
        seen = self._seen(before, window.action[:, 0], after)
        return seen, torch.as_tensor(window.reward[:, 0], dtype=torch.float32, device=self.model.device)

    @torch.no_grad()
    def _judge(self, random: np.random.Generator) -> float | None:
        try:
            seen, reward = self._draw(4 * _BATCH, random, "validation")
        except UsageError:  # nothing is held out
            return None
        variance = float(reward.var())
        error = (self.network(seen)[:, 0] * self.spread + self.mean - reward).square().mean()
        return 1 - float(error) / variance if variance > 0 else None
