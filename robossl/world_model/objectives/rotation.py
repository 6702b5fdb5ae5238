"""Which way is up: by how many quarter turns a picture was turned (Gidaris et al., arXiv 1803.07728)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, Frames
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective


def rotation(batch: EncodedBatch) -> Tensor:
    """Cross-entropy of telling the turn of each window's first pictures from z; 1 for a blind guess."""
    count = len(batch.z)
    sizes = [(count * (k + 1) + 3) // 4 - (count * k + 3) // 4 for k in range(4)]  # as many of each
    quarters = torch.arange(count, device=batch.z.device) * 4 // count  # [B]
    turned = {path: turn(frames, sizes) for path, frames in batch.images.items()}
    z = batch.model.encoder(batch.vector[:, 0] if batch.model.observations.vectors else None, turned)
    guess = batch.model.heads["rotation"](z)  # [B, 4]
    return F.cross_entropy(guess, quarters) / math.log(4)


def turn(frames: Frames, sizes: list[int]) -> Frames:
    """The first pictures [B, H, W, C] of each window and those before them: so many by 0, 1, 2 and 3 quarters."""
    edge = min(frames[0].shape[-3:-1])

    def one(pictures: Tensor) -> Tensor:
        square = pictures[:, 0, :edge, :edge]  # a turn must not show in the shape
        return torch.cat([torch.rot90(part, k, (1, 2)) for k, part in enumerate(square.split(sizes))])

    return one(frames[0]), one(frames[1])


def build(config: WorldModelConfig, action: int) -> nn.Module:
    """z [..., Z] -> which of four turns [..., 4]."""
    return MLP(config.latent_dim, config.inverse_hidden, 4, config.linear_skip)


OBJECTIVES = {"rotation": Objective(rotation, prevents_collapse=True, images=True, make_head=build)}
