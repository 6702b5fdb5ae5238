"""Encoders that no objective trains: the observation itself, a linear map (PCA, a scrambled observation) and noise.

They are baselines for the learned encoder. Their latents are not normalized to unit length: a linear map keeps the
distances between observations. Networks on top of them are trained as on a learned encoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.networks import ImagePair, resize_images

_EDGE = 32  # [pixels] images are resized to this edge
_MASK = (1 << 53) - 1  # of the bits of a hash that become a uniform number
_MULTIPLIERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685)  # odd, from splitmix64
_SHIFT = 31


class LinearEncoder(nn.Module):
    """Linear map of the normalized vector, and of images and their change: -> z (..., Z).

    The initial weights are orthonormal columns, so that z is the observation in a random basis.
    """

    mean: Tensor  # (I,)
    scale: Tensor  # (I,) factor of the centered inputs

    def __init__(self, vector_dim: int, channels: dict[str, int], latent_dim: int) -> None:
        super().__init__()
        self.paths = list(channels)
        pixels = [count * _EDGE * _EDGE for count in channels.values() for _ in ("image", "change")]
        self.blocks = [*([vector_dim] if vector_dim else []), *pixels]
        size = sum(self.blocks)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.weight = nn.Parameter(torch.empty(latent_dim, size))
        nn.init.orthogonal_(self.weight, gain=(max(latent_dim, size) / size) ** 0.5)  # z of unit variance

    def inputs(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return the inputs (..., I) of the map: the vector, then the pixels of each image and their change."""
        parts = [] if vector is None else [vector]
        for path in self.paths:
            now, before = (
                resize_images(image.reshape(-1, *image.shape[-3:]), _EDGE) for image in images[path]
            )
            pixels = torch.cat([now - 0.5, 4 * (now - before)], 1).flatten(1)  # as `ImageEncoder`
            parts.append(pixels.reshape(*images[path][0].shape[:-3], -1))
        return torch.cat(parts, -1)

    def forward(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return latents (..., Z); same arguments as `Encoder.forward`."""
        return F.linear((self.inputs(vector, images) - self.mean) * self.scale, self.weight)


class NormalizedEncoder(nn.Module):
    """The normalized vector itself: -> z (..., D)."""

    def forward(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return latents (..., D); same arguments as `Encoder.forward`."""
        assert vector is not None  # `make_fixed_encoder` refuses images
        return vector


class NoiseEncoder(nn.Module):
    """Standard normal numbers that the bits of an observation determine: -> z (..., Z).

    Equal observations have equal latents, and any change of an observation gives independent ones. z contains nothing
    that carries over to observations which were not recorded.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @torch.no_grad()
    def forward(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return latents (..., Z); same arguments as `Encoder.forward`."""
        parts = []
        if vector is not None:
            parts.append((vector.float() + 0.0).view(torch.int32).long())  # + 0.0: -0.0 equals 0.0
        for pair in images.values():
            parts += [image.flatten(-3).long() for image in pair]
        values = torch.cat(parts, -1)  # (..., I)
        place = torch.arange(1, values.shape[-1] + 1, device=values.device)
        code = _mix(_mix(values) + place * _MULTIPLIERS[0]).sum(-1, keepdim=True)  # (..., 1)
        index = torch.arange(1, self.latent_dim + 1, device=values.device)
        bits = _mix(_mix(code + index * _MULTIPLIERS[1])) & _MASK
        uniform = (bits.double() + 0.5) / (_MASK + 1)  # (0, 1)
        return (2**0.5 * torch.erfinv(2 * uniform - 1)).float()


def _mix(value: Tensor) -> Tensor:
    """Return 64-bit integers whose bits depend on all bits of `value` (the finalizer of splitmix64)."""
    for multiplier in _MULTIPLIERS[1:]:
        value = (value ^ (value >> _SHIFT)) * multiplier
    return value ^ (value >> _SHIFT)


def make_fixed_encoder(
    kind: str, vector_dim: int, channels: dict[str, int], latent_dim: int
) -> LinearEncoder | NoiseEncoder | NormalizedEncoder:
    """Return the encoder of `WorldModelConfig.encoder`.

    Args:
        kind: normalized, pca, scrambled or noise.
        vector_dim: Dimension of the normalized vector.
        channels: Number of channels of each image leaf by path.
        latent_dim: Dimension Z of the latent.

    Raises:
        UsageError: A scrambled observation has images, or more values than the latent; a normalized one has images, or
            not as many values as the latent.
    """
    if kind == "noise":
        return NoiseEncoder(latent_dim)
    if kind == "scrambled" and (channels or vector_dim > latent_dim):
        got = f"images {', '.join(map(repr, channels))}" if channels else f"{vector_dim} values"
        raise UsageError(
            "world_model.encoder scrambled: expected observations without images, of at most "
            f"latent_dim = {latent_dim} values, got {got}"
        )
    if kind == "normalized" and (channels or vector_dim != latent_dim):
        got = f"images {', '.join(map(repr, channels))}" if channels else f"{vector_dim} values"
        raise UsageError(
            "world_model.encoder normalized: expected observations without images, of exactly "
            f"latent_dim = {latent_dim} values, got {got}"
        )
    if kind == "normalized":
        return NormalizedEncoder()
    return LinearEncoder(vector_dim, channels, latent_dim)
