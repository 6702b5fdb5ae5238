"""A reward for the dream, learned afterwards from labelled rows: the world model never hears of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import RequestError
from robossl.core.seeding import derive, generator
from robossl.world.model import WorldModel
from robossl.world.networks import Perceptron

_BATCH = 512
_RATE = 1e-3
_HIDDEN = (128, 128)


class LearnedReward:
    """(observation, action, next observation) -> reward (n,): a small network on what the model normalises.

    `r2` is the share of the held-out reward's variance it explains; None where it does not vary there.
    """

    def __init__(self, model: WorldModel, stream: Any, updates: int = 1000, seed: int = 0) -> None:
        """Learn from the train split of `stream`. `RequestError` where it only observes images, or without reward."""
        if not model.observations.vectors:
            raise RequestError("a reward is learned from vector observations; this model reads images only")
        self.model, self.stream = model, stream
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "world", "reward"))
            size = 2 * model.observations.size + model.actions.size
            self.network = Perceptron(size, _HIDDEN, 1).to(model.device)
        random = generator(seed, "world", "reward")
        _, reward = self._draw(8 * _BATCH, random, "train")
        self.mean, self.spread = float(reward.mean()), float(reward.std())
        if self.spread < 1e-8:
            raise RequestError(
                f"the reward is {self.mean:g} in all rows looked at; there is nothing to learn"
            )
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
        with torch.no_grad():
            told = self.network(self._seen(observation, action, after))[:, 0]
        return (told.cpu().numpy() * self.spread + self.mean).astype(np.float64)

    def _seen(self, observation: Any, action: Any, after: Any) -> Tensor:
        coder = self.model.observations
        before, then = (coder.vector(coder.parts(value)) for value in (observation, after))
        return torch.cat([before, self.model.actions(action), then], -1)

    def _draw(self, count: int, random: np.random.Generator, split: str) -> tuple[Tensor, Tensor]:
        window = self.stream.windows(count, 1, random, split=split)
        coder = self.model.observations
        vector = coder.vector(coder.parts(window.observation))  # [B, 2, D]
        seen = torch.cat([vector[:, 0], self.model.actions(window.action[:, 0]), vector[:, 1]], -1)
        return seen, torch.as_tensor(window.reward[:, 0], dtype=torch.float32, device=self.model.device)

    @torch.no_grad()
    def _judge(self, random: np.random.Generator) -> float | None:
        try:
            seen, reward = self._draw(4 * _BATCH, random, "validation")
        except RequestError:  # nothing is held out
            return None
        variance = float(reward.var())
        error = (self.network(seen)[:, 0] * self.spread + self.mean - reward).square().mean()
        return 1 - float(error) / variance if variance > 0 else None
