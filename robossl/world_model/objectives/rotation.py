"""Rotation: by how many quarter turns an image was rotated (Gidaris et al., arXiv 1803.07728)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.networks import MLP, ImagePair
from robossl.world_model.objective import Objective


def rotation(batch: EncodedBatch) -> Tensor:
    """Return the cross-entropy of the rotation of each window's first images; 1 for a uniform guess."""
    count = len(batch.z)
    sizes = [(count * (k + 1) + 3) // 4 - (count * k + 3) // 4 for k in range(4)]  # equal parts
    quarters = torch.arange(count, device=batch.z.device) * 4 // count  # (B,)
    rotated = {path: _rotate(pair, sizes) for path, pair in batch.images.items()}
    has_vectors = bool(batch.model.observation_processor.vectors)
    z = batch.model.encoder(batch.vector[:, 0] if has_vectors else None, rotated)
    logits = batch.model.heads["rotation"](z)  # (B, 4)
    return F.cross_entropy(logits, quarters) / math.log(4)


def _rotate(pair: ImagePair, sizes: list[int]) -> ImagePair:
    """Rotate the first images of `sizes[k]` windows by k quarter turns, and likewise the images one step earlier."""
    edge = min(pair[0].shape[-3:-1])

    def rotate(images: Tensor) -> Tensor:
        square = images[:, 0, :edge, :edge]  # otherwise the shape would show the rotation
        return torch.cat([torch.rot90(part, k, (1, 2)) for k, part in enumerate(square.split(sizes))])

    return rotate(pair[0]), rotate(pair[1])


def make_head(config: WorldModelConfig, action_dim: int) -> nn.Module:
    """Return the classifier: z (..., Z) -> logits of the four rotations (..., 4)."""
    return MLP(config.latent_dim, config.inverse_hidden, 4, config.linear_skip)


OBJECTIVES = {"rotation": Objective(rotation, prevents_collapse=True, images=True, make_head=make_head)}
