"""The networks: a multilayer perceptron, the encoder of observations, the ensemble that predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEP = 0.1  # how far a latent of unit variance moves in one step, about: what a head's output of 1 means
_IMAGE_FEATURES = 256  # numbers an image is summed up in before it meets the rest


class MLP(nn.Module):
    """Linear, LayerNorm, SiLU for each hidden width, then Linear: [..., I] -> [..., O]; and a `straight` line past it.

    The norms forget how large an input is; what is linear in it, however rare and large, goes past them.
    """

    def __init__(self, size: int, hidden: Sequence[int], out: int, straight: bool) -> None:
        super().__init__()
        widths = [size, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], out))
        self.skip = nn.Linear(size, out, bias=False) if straight else None

    def forward(self, x: Tensor) -> Tensor:
        """The outputs [..., O]."""
        y: Tensor = self.mlp(x)
        return y if self.skip is None else y + self.skip(x)


class ImageEncoder(nn.Module):
    """Frame and its change -> [..., 256]: small strided convolutions (`edge` pixels square inside)."""

    def __init__(self, channels: int, edge: int) -> None:
        super().__init__()
        self.edge = edge
        self.convolutions = nn.Sequential(
            nn.Conv2d(2 * channels, 16, 8, 4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
        )
        after = edge
        for kernel, stride in ((8, 4), (4, 2), (4, 2)):
            after = (after - kernel) // stride + 1
        self.out = nn.Sequential(
            nn.Linear(64 * after * after, _IMAGE_FEATURES), nn.LayerNorm(_IMAGE_FEATURES)
        )

    def forward(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Features of uint8 `frame` [..., H, W, C], given the frame before it."""
        lead = frame.shape[:-3]
        now, before = (self._small(x.reshape(-1, *x.shape[-3:])) for x in (frame, previous))
        seen = torch.cat([now - 0.5, 4 * (now - before)], 1)  # [N, 2C, edge, edge]
        return self.out(self.convolutions(seen)).reshape(*lead, _IMAGE_FEATURES)

    def _small(self, frame: Tensor) -> Tensor:
        channels_first = frame.movedim(-1, 1).float() / 255  # [N, C, H, W]
        if channels_first.shape[-2:] == (self.edge, self.edge):
            return channels_first
        return F.interpolate(channels_first, (self.edge, self.edge), mode="area")


class Encoder(nn.Module):
    """Normalised vector [..., D] and images -> z [..., Z], each z of zero mean and unit variance."""

    def __init__(
        self, size: int, images: dict[str, int], edge: int, hidden: Sequence[int], latent: int, straight: bool
    ) -> None:
        super().__init__()
        self.names = list(images)
        self.image_encoders = nn.ModuleList(ImageEncoder(channels, edge) for channels in images.values())
        self.trunk = MLP(size + _IMAGE_FEATURES * len(images), hidden, latent, straight)
        self.out = nn.LayerNorm(latent, elementwise_affine=False)  # no other scale to shrink

    def forward(self, vector: Tensor | None, images: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """`images`: frame and the frame before it, by name."""
        features = [] if vector is None else [vector]
        features += [eye(*images[name]) for name, eye in zip(self.names, self.image_encoders)]
        return self.out(self.trunk(torch.cat(features, -1)))


class Ensemble(nn.Module):
    """E residual predictors, one batched product a layer: z [E, N, Z], a [E, N, A] -> z' [E, N, Z].

    Each is a perceptron; a `straight` line past it begins at nothing.
    """

    def __init__(self, latent: int, action: int, hidden: Sequence[int], heads: int, straight: bool) -> None:
        super().__init__()
        sizes = [latent + action, *hidden, latent]
        self.heads = heads
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(heads, i, o)) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.empty(heads, 1, o)) for o in sizes[1:])
        self.skip = nn.Parameter(torch.zeros(heads, latent + action, latent)) if straight else None
        with torch.no_grad():  # as in a Linear
            for weight, bias in zip(self.weights, self.biases):
                bound = 1 / math.sqrt(weight.shape[1])
                weight.uniform_(-bound, bound)
                bias.uniform_(-bound, bound)

    def forward(self, z: Tensor, action: Tensor, heads: slice = slice(None)) -> Tensor:
        """The next latent of each head; `heads` picks some of them."""
        given = torch.cat([z, action], -1)
        x = given
        *hidden, (last_weight, last_bias) = zip(self.weights, self.biases)
        for weight, bias in hidden:
            x = torch.baddbmm(bias[heads], x, weight[heads])
            x = F.silu(F.layer_norm(x, x.shape[-1:]))
        moved = torch.baddbmm(last_bias[heads], x, last_weight[heads])
        if self.skip is not None:
            moved = torch.baddbmm(moved, given, self.skip[heads])
        return F.layer_norm(z + _STEP * moved, z.shape[-1:])
