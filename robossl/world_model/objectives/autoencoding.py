"""Autoencoding: what the encoder reads, decoded from z, without any prediction: the baseline of a world model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_EDGE = 32  # [pixels] of the decoded images


def autoencoding(batch: EncodedBatch) -> Tensor:
    """Return the error of the decoded normalized vector; 1 for its mean."""
    decoder = batch.model.decoder
    if decoder is None:
        return batch.z.sum() * 0.0  # images are not decoded
    error = (decoder(batch.z) - batch.vector).square().mean(-1)  # (B, T+1)
    return masked_mean(error, batch.observation_mask)


def image_autoencoding(batch: EncodedBatch) -> Tensor:
    """Return the mean error of the decoded brightness of the first image and of its change since the previous step.

    Each of the two is 1 for the mean of the batch.
    """
    now, before = (_gray(image) for image in next(iter(batch.images.values())))  # (N, P)
    mask = batch.observation_mask.flatten()  # (N,)
    decoded = batch.model.heads["image_autoencoding"](batch.z.flatten(0, 1)).chunk(2, -1)
    errors = []
    for output, target in zip(decoded, (now, now - before)):
        centered = target - (mask[:, None] * target).sum(0) / mask.sum()
        std = masked_mean(centered.square().mean(-1), mask).clamp_min(1e-8).sqrt()
        errors.append(masked_mean((output - centered / std).square().mean(-1), mask))
    return torch.stack(errors).mean()


def _gray(images: Tensor) -> Tensor:
    """Return the brightness (N, P) of images (B, T+1, H, W, C)."""
    gray = images.flatten(0, 1).float().mean(-1)[:, None] / 255  # (N, 1, H, W)
    return F.interpolate(gray, (_EDGE, _EDGE), mode="area").flatten(1)


def make_head(config: WorldModelConfig, action_dim: int) -> nn.Module:
    """Return the decoder: z (..., Z) -> deviations of the brightness and of its change (..., 2 * 32 * 32)."""
    return MLP(config.latent_dim, config.decoder_hidden, 2 * _EDGE * _EDGE, config.linear_skip)


OBJECTIVES = {
    "autoencoding": Objective(autoencoding, prevents_collapse=True),
    "image_autoencoding": Objective(
        image_autoencoding, prevents_collapse=True, images=True, make_head=make_head
    ),
}
