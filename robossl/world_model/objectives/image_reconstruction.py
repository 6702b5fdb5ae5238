"""Seeing in latents, for images: the row's picture in small, by how bright it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_EDGE = 32  # a picture is decoded as _EDGE x _EDGE brightnesses


def picture(batch: EncodedBatch) -> Tensor:
    """Error of the decoded first image of each row, 1 where the batch's mean picture is guessed."""
    now = next(iter(batch.images.values()))[0]  # [B, T+1, H, W, C]
    grey = now.flatten(0, 1).float().mean(-1)[:, None] / 255  # [N, 1, H, W]
    small = F.interpolate(grey, (_EDGE, _EDGE), mode="area").flatten(1)  # [N, P]
    # rows are weighed, not picked: how many there are is not known when a step is recorded
    real = batch.rows.flatten()  # [N]
    away = small - (real[:, None] * small).sum(0) / real.sum()
    spread = masked_mean(away.square().mean(-1), real).clamp_min(1e-8)  # where little changes little is asked
    guess = batch.model.heads["image_reconstruction"](batch.z.flatten(0, 1))  # [N, P]
    return masked_mean((guess - away / spread.sqrt()).square().mean(-1), real)


def build(config: WorldModelConfig, action: int) -> nn.Module:
    """z [..., Z] -> by how many spreads each place is brighter than usual [..., 32 * 32]."""
    return MLP(config.latent_dim, config.decoder_hidden, _EDGE * _EDGE, config.linear_skip)


OBJECTIVES = {
    "image_reconstruction": Objective(picture, prevents_collapse=True, images=True, make_head=build)
}
