"""Image reconstruction: the brightness of the first image, 32 x 32, decoded from z."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_EDGE = 32  # [pixels] of the decoded image


def image_reconstruction(batch: EncodedBatch) -> Tensor:
    """Return the error of the decoded first image of each observation; 1 for the mean image of the batch."""
    images = next(iter(batch.images.values()))[0]  # (B, T+1, H, W, C)
    gray = images.flatten(0, 1).float().mean(-1)[:, None] / 255  # (N, 1, H, W)
    target = F.interpolate(gray, (_EDGE, _EDGE), mode="area").flatten(1)  # (N, P)
    # A mask of weights, not a selection: the number of selected entries is not known when a CUDA graph is captured.
    mask = batch.observation_mask.flatten()  # (N,)
    centered = target - (mask[:, None] * target).sum(0) / mask.sum()
    variance = masked_mean(centered.square().mean(-1), mask).clamp_min(1e-8)
    decoded = batch.model.heads["image_reconstruction"](batch.z.flatten(0, 1))  # (N, P)
    return masked_mean((decoded - centered / variance.sqrt()).square().mean(-1), mask)


def make_head(config: WorldModelConfig, action_dim: int) -> nn.Module:
    """Return the decoder: z (..., Z) -> normalized deviation from the mean brightness (..., 32 * 32)."""
    return MLP(config.latent_dim, config.decoder_hidden, _EDGE * _EDGE, config.linear_skip)


OBJECTIVES = {
    "image_reconstruction": Objective(
        image_reconstruction, prevents_collapse=True, images=True, make_head=make_head
    )
}
