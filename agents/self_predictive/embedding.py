"""Networks of the self-predictive agent: embedding of states and actions, policy, pair of value functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .two_hot import NUM_BINS

_GAIN = math.sqrt(2)
Activation = Callable[[Tensor], Tensor]


def normalize(x: Tensor) -> Tensor:
    """Return x (..., D) with zero mean and unit variance over D: LayerNorm without parameters."""
    return F.layer_norm(x, x.shape[-1:])


def make_linear(input_dim: int, output_dim: int, random: torch.Generator) -> nn.Linear:
    """Return a linear layer with Xavier weights of gain sqrt(2) and zero bias."""
    layer = nn.utils.skip_init(nn.Linear, input_dim, output_dim)
    nn.init.xavier_uniform_(layer.weight, _GAIN, random)
    nn.init.zeros_(layer.bias)
    return layer


class NormalizedMLP(nn.Module):
    """Linear, LayerNorm, activation, twice, then Linear: (..., I) -> (..., O)."""

    def __init__(
        self, input_dim: int, hidden: int, output_dim: int, activation: Activation, random: torch.Generator
    ) -> None:
        super().__init__()
        self.first = make_linear(input_dim, hidden, random)
        self.second = make_linear(hidden, hidden, random)
        self.last = make_linear(hidden, output_dim, random)
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (..., O)."""
        x = self._activation(normalize(self.first(x)))
        x = self._activation(normalize(self.second(x)))
        return self.last(x)


class Prediction(NamedTuple):
    """What the linear head predicts from z_sa."""

    next_z: Tensor  # (..., Z)
    reward: Tensor  # (..., 65) logits
    termination: Tensor  # (...,) logit


class Embedding(nn.Module):
    """Embeds states, z_s (..., Z), and states with actions, z_sa (..., Z).

    A linear head on z_sa predicts the next z_s, the reward and the termination; the inverse head predicts the action
    between two z_s.
    """

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        latent_dim: int,
        hidden: int,
        action_embedding_dim: int,
        random: torch.Generator,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.state = NormalizedMLP(input_dim, hidden, latent_dim, F.elu, random)
        self.action = make_linear(action_dim, action_embedding_dim, random)
        self.joint = NormalizedMLP(latent_dim + action_embedding_dim, hidden, latent_dim, F.elu, random)
        self.head = make_linear(latent_dim, latent_dim + NUM_BINS + 1, random)
        self.inverse = make_linear(2 * latent_dim, action_dim, random)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return z_s (..., Z) of inputs (..., I)."""
        return F.elu(normalize(self.state(inputs)))

    def join(self, z: Tensor, action: Tensor) -> Tensor:
        """Return z_sa (..., Z) of z_s (..., Z) and actions (..., A) in [-1, 1]."""
        return self.joint(torch.cat([z, F.elu(self.action(action))], -1))

    def predict(self, joint: Tensor) -> Prediction:
        """Return the predictions from z_sa (..., Z)."""
        next_z, reward, termination = self.head(joint).split([self.latent_dim, NUM_BINS, 1], -1)
        return Prediction(next_z, reward, termination.squeeze(-1))

    def infer_action(self, z: Tensor, next_z: Tensor) -> Tensor:
        """Return the actions (..., A) that lead from z_s (..., Z) to the next z_s (..., Z)."""
        return self.inverse(torch.cat([z, next_z], -1))


class PolicyNetwork(nn.Module):
    """Deterministic policy: z_s (..., Z) -> actions (..., A) in [-1, 1]."""

    def __init__(self, latent_dim: int, hidden: int, action_dim: int, random: torch.Generator) -> None:
        super().__init__()
        self.mlp = NormalizedMLP(latent_dim, hidden, action_dim, F.relu, random)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions (..., A) in [-1, 1], and the numbers (..., A) before the tanh."""
        before = self.mlp(z)
        return before.tanh(), before


class TwinValue(nn.Module):
    """Two value functions as one batched product a layer: z_sa (B, Z) -> values (2, B)."""

    def __init__(self, latent_dim: int, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        sizes = ((latent_dim, hidden), (hidden, hidden), (hidden, 1))
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(2, i, o)) for i, o in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(2, 1, o)) for _, o in sizes)
        for weight in self.weights:
            for one in weight.data:
                nn.init.xavier_uniform_(one, _GAIN, random)

    def forward(self, joint: Tensor) -> Tensor:
        """Return the values (2, B)."""
        x = joint.expand(2, *joint.shape)
        for weight, bias in zip(self.weights[:2], self.biases[:2]):
            x = F.elu(normalize(torch.baddbmm(bias, x, weight)))
        return torch.baddbmm(self.biases[2], x, self.weights[2]).squeeze(-1)
