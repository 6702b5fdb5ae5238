"""Seeing in latents, for images: the row's picture in small, by how bright it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world.batch import Batch
from robossl.world.config import WorldConfig
from robossl.world.networks import Perceptron
from robossl.world.objective import Objective

_EDGE = 32  # a picture is decoded as _EDGE x _EDGE brightnesses


def picture(batch: Batch) -> Tensor:
    """Error of the decoded first image of each row, 1 where the batch's mean picture is guessed."""
    now = next(iter(batch.images.values()))[0]  # [B, T+1, H, W, C]
    real = batch.rows > 0
    grey = now[real].float().mean(-1)[:, None] / 255  # [N, 1, H, W]
    small = F.interpolate(grey, (_EDGE, _EDGE), mode="area").flatten(1)  # [N, P]
    away = small - small.mean(0)
    spread = away.square().mean().clamp_min(1e-8)  # where little changes little is asked
    return (batch.model.heads["picture"](batch.z[real]) - away / spread.sqrt()).square().mean()


def build(config: WorldConfig, action: int) -> nn.Module:
    """z [..., Z] -> by how many spreads each place is brighter than usual [..., 32 * 32]."""
    return Perceptron(config.latent, config.decoder, _EDGE * _EDGE, config.straight)


OBJECTIVES = {"picture": Objective(picture, grounds=True, images=True, build=build)}
