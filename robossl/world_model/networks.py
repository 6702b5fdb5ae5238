"""Networks of the world model: MLP, image encoder, observation encoder, dynamics ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ImagePair = tuple[Tensor, Tensor]  # images and the images one step earlier, uint8 (..., H, W, C) each

_STEP = 0.1  # scale of the residual: a latent of unit variance changes by about this much in one step
_IMAGE_FEATURES = 256


class MLP(nn.Module):
    """Linear, LayerNorm and SiLU for each hidden width, then Linear: (..., I) -> (..., O).

    LayerNorm discards the scale of its input; the linear skip connection preserves it.
    """

    def __init__(self, input_dim: int, hidden: Sequence[int], output_dim: int, linear_skip: bool) -> None:
        super().__init__()
        widths = [input_dim, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], output_dim))
        self.skip = nn.Linear(input_dim, output_dim, bias=False) if linear_skip else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (..., O)."""
        y: Tensor = self.mlp(x)
        return y if self.skip is None else y + self.skip(x)


def resize_images(images: Tensor, size: int) -> Tensor:
    """Return uint8 images (N, H, W, C) as floats in [0, 1], (N, C, size, size)."""
    channels_first = images.movedim(-1, 1).float() / 255  # (N, C, H, W)
    if channels_first.shape[-2:] == (size, size):
        return channels_first
    return F.interpolate(channels_first, (size, size), mode="area")


class ImageEncoder(nn.Module):
    """Strided convolutions over an image and its change since the previous step: -> (..., 256)."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.convolutions = nn.Sequential(
            nn.Conv2d(2 * channels, 16, 8, 4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
        )
        edge = image_size
        for kernel, stride in ((8, 4), (4, 2), (4, 2)):
            edge = (edge - kernel) // stride + 1
        self.out = nn.Sequential(nn.Linear(64 * edge * edge, _IMAGE_FEATURES), nn.LayerNorm(_IMAGE_FEATURES))

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """Return features (..., 256) of uint8 images (..., H, W, C) and the images one step earlier."""
        lead = image.shape[:-3]
        now, before = (
            resize_images(x.reshape(-1, *x.shape[-3:]), self.image_size) for x in (image, previous)
        )
        inputs = torch.cat([now - 0.5, 4 * (now - before)], 1)  # (N, 2C, edge, edge)
        return self.out(self.convolutions(inputs)).reshape(*lead, _IMAGE_FEATURES)


class Encoder(nn.Module):
    """Normalized vector (..., D) and images -> z (..., Z), each z of zero mean and unit variance."""

    def __init__(
        self,
        vector_dim: int,
        channels: dict[str, int],
        image_size: int,
        hidden: Sequence[int],
        latent_dim: int,
        linear_skip: bool,
    ) -> None:
        super().__init__()
        self.paths = list(channels)
        self.image_encoders = nn.ModuleList(ImageEncoder(count, image_size) for count in channels.values())
        self.trunk = MLP(vector_dim + _IMAGE_FEATURES * len(channels), hidden, latent_dim, linear_skip)
        self.norm = nn.LayerNorm(latent_dim, elementwise_affine=False)  # keeps the scale of z from shrinking

    def forward(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return latents (..., Z).

        Args:
            vector: The normalized vector leaves (..., D); None if all leaves are images.
            images: By path of the leaf, the images and the images one step earlier.
        """
        features = [] if vector is None else [vector]
        features += [encode(*images[path]) for path, encode in zip(self.paths, self.image_encoders)]
        return self.norm(self.trunk(torch.cat(features, -1)))


class DynamicsEnsemble(nn.Module):
    """E residual MLPs as one batched product a layer: z (E, N, Z), actions (E, N, A) -> next z (E, N, Z).

    The linear skip connection is initialized with zeros. With `normalize`, z has zero mean and unit variance, as that
    of `Encoder`.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        num_heads: int,
        linear_skip: bool,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        widths = [latent_dim + action_dim, *hidden, latent_dim]
        self.num_heads = num_heads
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(num_heads, i, o)) for i, o in pairwise(widths)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.empty(num_heads, 1, o)) for o in widths[1:])
        self.skip = (
            nn.Parameter(torch.zeros(num_heads, latent_dim + action_dim, latent_dim)) if linear_skip else None
        )
        with torch.no_grad():  # the initialization of nn.Linear
            for weight, bias in zip(self.weights, self.biases):
                bound = 1 / math.sqrt(weight.shape[1])
                weight.uniform_(-bound, bound)
                bias.uniform_(-bound, bound)

    def forward(self, z: Tensor, action: Tensor, heads: slice = slice(None)) -> Tensor:
        """Return the next latent of each head in `heads`."""
        inputs = torch.cat([z, action], -1)
        x = inputs
        *hidden, (last_weight, last_bias) = zip(self.weights, self.biases)
        for weight, bias in hidden:
            x = torch.baddbmm(bias[heads], x, weight[heads])
            x = F.silu(F.layer_norm(x, x.shape[-1:]))
        delta = torch.baddbmm(last_bias[heads], x, last_weight[heads])
        if self.skip is not None:
            delta = torch.baddbmm(delta, inputs, self.skip[heads])
        later = z + _STEP * delta
        return F.layer_norm(later, z.shape[-1:]) if self.normalize else later
