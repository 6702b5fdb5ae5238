"""Filling in: how bright a hidden square of a picture is, from all the rest of it (Pathak et al., arXiv 1604.07379)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_CELLS = 16  # a picture is _CELLS x _CELLS brightnesses
_HIDDEN = 6  # and a square of _HIDDEN x _HIDDEN of them is hidden
_GREY = 127


def inpainting(batch: EncodedBatch) -> Tensor:
    """Error of the hidden brightness in each window's first pictures, 1 where the batch's mean picture is guessed."""
    hidden = _square(len(batch.z), batch.random).to(batch.z.device)  # [B, 16, 16] bool
    shown = {
        path: (_cover(now[:, 0], hidden), _cover(before[:, 0], hidden))
        for path, (now, before) in batch.images.items()
    }
    z = batch.model.encoder(batch.vector[:, 0] if batch.model.observations.vectors else None, shown)
    true = _brightness(next(iter(batch.images.values()))[0][:, 0])
    guess = batch.model.heads["inpainting"](z).reshape(true.shape)
    here, away = hidden.to(true), true - true.mean(0)
    spread = masked_mean(away.square(), here).clamp_min(1e-6)
    return masked_mean((guess - away / spread.sqrt()).square(), here)


def _brightness(pictures: Tensor) -> Tensor:
    """[B, 16, 16] in [0, 1] of pictures [B, H, W, C]."""
    grey = pictures.float().mean(-1)[:, None] / 255
    return F.interpolate(grey, (_CELLS, _CELLS), mode="area")[:, 0]


def _square(count: int, random: torch.Generator) -> Tensor:
    """[B, 16, 16] bool: a square anywhere in each picture."""
    corner = torch.randint(0, _CELLS - _HIDDEN + 1, (2, count, 1), generator=random)
    cell = torch.arange(_CELLS)
    down, right = ((cell >= c) & (cell < c + _HIDDEN) for c in corner)  # [B, 16] each
    return down[:, :, None] & right[:, None, :]


def _cover(pictures: Tensor, hidden: Tensor) -> Tensor:
    """Pictures [B, H, W, C] with the hidden cells [B, 16, 16] in grey."""
    wide = F.interpolate(hidden[:, None].float(), pictures.shape[1:3])[:, 0, :, :, None] > 0
    return torch.where(wide, torch.full_like(pictures, _GREY), pictures)


def build(config: WorldModelConfig, action: int) -> nn.Module:
    """z [..., Z] -> by how many spreads each cell is brighter than usual [..., 16 * 16]."""
    return MLP(config.latent_dim, config.inverse_hidden, _CELLS * _CELLS, config.linear_skip)


OBJECTIVES = {"inpainting": Objective(inpainting, prevents_collapse=True, images=True, make_head=build)}
