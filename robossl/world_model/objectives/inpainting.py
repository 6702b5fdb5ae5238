"""Inpainting: the brightness of a hidden square of an image (context encoders, Pathak et al., arXiv 1604.07379)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_CELLS = 16  # an image is divided into _CELLS x _CELLS cells
_HIDDEN = 6  # a square of _HIDDEN x _HIDDEN cells is hidden
_GRAY = 127  # the value of hidden pixels


def inpainting(batch: EncodedBatch) -> Tensor:
    """Return the error of the hidden brightness in each window's first images; 1 for the mean image of the batch."""
    hidden = _random_squares(len(batch.z), batch.random).to(batch.z.device)  # (B, 16, 16) bool
    masked_images = {
        path: (_hide_cells(now[:, 0], hidden), _hide_cells(before[:, 0], hidden))
        for path, (now, before) in batch.images.items()
    }
    has_vectors = bool(batch.model.observation_processor.vectors)
    z = batch.model.encoder(batch.vector[:, 0] if has_vectors else None, masked_images)
    target = _cell_brightness(next(iter(batch.images.values()))[0][:, 0])
    decoded = batch.model.heads["inpainting"](z).reshape(target.shape)
    mask, centered = hidden.to(target), target - target.mean(0)
    variance = masked_mean(centered.square(), mask).clamp_min(1e-6)
    return masked_mean((decoded - centered / variance.sqrt()).square(), mask)


def _cell_brightness(images: Tensor) -> Tensor:
    """Return the brightness (B, 16, 16) in [0, 1] of images (B, H, W, C)."""
    gray = images.float().mean(-1)[:, None] / 255
    return F.interpolate(gray, (_CELLS, _CELLS), mode="area")[:, 0]


def _random_squares(count: int, random: torch.Generator) -> Tensor:
    """Return masks (B, 16, 16) of a square at a random position."""
    corner = torch.randint(0, _CELLS - _HIDDEN + 1, (2, count, 1), generator=random)
    cell = torch.arange(_CELLS)
    rows, columns = ((cell >= c) & (cell < c + _HIDDEN) for c in corner)  # (B, 16) each
    return rows[:, :, None] & columns[:, None, :]


def _hide_cells(images: Tensor, hidden: Tensor) -> Tensor:
    """Return images (B, H, W, C) with gray pixels in the hidden cells (B, 16, 16)."""
    pixels = F.interpolate(hidden[:, None].float(), images.shape[1:3])[:, 0, :, :, None] > 0
    return torch.where(pixels, torch.full_like(images, _GRAY), images)


def make_head(config: WorldModelConfig, action_dim: int) -> nn.Module:
    """Return the decoder: z (..., Z) -> normalized deviation from the mean brightness (..., 16 * 16)."""
    return MLP(config.latent_dim, config.inverse_hidden, _CELLS * _CELLS, config.linear_skip)


OBJECTIVES = {"inpainting": Objective(inpainting, prevents_collapse=True, images=True, make_head=make_head)}
