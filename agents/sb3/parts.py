"""A linear layer and LayerNorm for each part of an agent's input: the latent, and the numbers beside it.

With Adam, which moves each weight by a similar amount per step, many inputs of unit variance dominate the few of an
observation. Two parts of equal width and scale have an equal share, at all sizes.
"""

from __future__ import annotations

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

_WIDTH = 32  # of each part


class PartLayers(nn.Module):
    """Latents (B, Z) and numbers (B, K) -> features (B, 2 * 32), each part of zero mean and unit variance."""

    features_dim = 2 * _WIDTH

    def __init__(self, latent_dim: int, beside_dim: int) -> None:
        super().__init__()
        self.latent, self.beside = (
            nn.Sequential(nn.Linear(dim, _WIDTH), nn.LayerNorm(_WIDTH)) for dim in (latent_dim, beside_dim)
        )

    def forward(self, z: Tensor, beside: Tensor) -> Tensor:
        """Return the features (B, 64)."""
        return torch.cat([self.latent(z), self.beside(beside)], 1)


class PartExtractor(BaseFeaturesExtractor):
    """Features of the vector (B, Z + K) that `FeatureBuilder` returns with a frozen latent beside numbers."""

    def __init__(self, observation_space: gym.Space, latent_dim: int) -> None:
        """Create the layers for vectors that begin with a latent of `latent_dim` numbers."""
        super().__init__(observation_space, PartLayers.features_dim)
        assert observation_space.shape is not None
        self.latent_dim, self.parts = (
            latent_dim,
            PartLayers(latent_dim, observation_space.shape[0] - latent_dim),
        )

    def forward(self, observations: Tensor) -> Tensor:
        """Return features (B, 64) of vectors (B, Z + K)."""
        return self.parts(observations[:, : self.latent_dim], observations[:, self.latent_dim :])
