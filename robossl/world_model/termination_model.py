"""Whether a step ends the episode, predicted from latent and action: part of a reward model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.core.seeding import derive
from robossl.world_model.networks import MLP

_BATCH = 256  # half of it steps that ended an episode
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-3
_HIDDEN = (128, 128)


class TerminationModel:
    """An MLP: features of a step -> probability that the env sets `terminated` after it.

    Few steps end an episode, so half of each batch are such steps; the logit is corrected to their recorded rate.

    Args:
        input_dim: Number of features F.
        rate: Fraction of the recorded steps that ended an episode.
        seed: Seed of the weights.
        device: Device of the network.
    """

    def __init__(self, input_dim: int, rate: float, seed: int, device: torch.device) -> None:
        self.input_dim, self.rate = input_dim, rate
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "world", "termination"))
            self.network = MLP(input_dim, _HIDDEN, 1, False).to(device)
        self.network.requires_grad_(False)

    def fit(self, features: Tensor, terminated: Tensor, updates: int, random: np.random.Generator) -> None:
        """Take `updates` gradient steps on recorded steps: features (N, F), terminated (N,) in {0, 1}."""
        self.network.requires_grad_(True)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
        )
        ends = terminated.nonzero()[:, 0].cpu().numpy()
        others = (terminated == 0).nonzero()[:, 0].cpu().numpy()
        half = _BATCH // 2
        target = torch.cat([torch.ones(half), torch.zeros(half)]).to(features.device)
        for _ in range(updates):
            rows = np.concatenate([random.choice(index, half) for index in (ends, others)])
            logit = self.network(features[torch.from_numpy(rows).to(features.device)])[:, 0]
            optimizer.zero_grad(set_to_none=True)
            F.binary_cross_entropy_with_logits(logit, target).backward()
            optimizer.step()
        self.network.requires_grad_(False)
        for parameter in self.network.parameters():
            parameter.grad = None

    def __call__(self, features: Tensor) -> Tensor:
        """Return probabilities (...) of features (..., F)."""
        logit: Tensor = self.network(features)[..., 0]
        return torch.sigmoid(logit + math.log(self.rate / (1 - self.rate)))

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the weights and the rate."""
        weights = {name: value.cpu().numpy().copy() for name, value in self.network.state_dict().items()}
        return {"network": weights, "input_dim": self.input_dim, "rate": self.rate}

    @classmethod
    def from_checkpoint(cls, tree: Mapping[str, Any], device: torch.device) -> TerminationModel:
        """Return the model whose `get_checkpoint` returned `tree`."""
        model = cls(int(tree["input_dim"]), float(tree["rate"]), 0, device)
        model.network.load_state_dict(
            {name: torch.tensor(np.array(v)) for name, v in tree["network"].items()}
        )
        return model
