"""Spread as a bell: seen from any direction the latents are normally distributed (LeJEPA, arXiv 2511.08544)."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective

_DIRECTIONS = 64  # drawn anew every time
_KNOTS = 17  # of the integral over frequencies up to
_HIGHEST = 4.0


def sigreg(batch: EncodedBatch) -> Tensor:
    """Epps-Pulley distance of random projections of the windows' first rows to N(0, 1); 1 for a point at 0."""
    z = batch.z[:, 0]  # [B, Z]
    directions = torch.randn(z.shape[1], _DIRECTIONS, generator=batch.random).to(z.device)
    seen = z @ (directions / directions.norm(dim=0))  # [B, K]
    frequency = torch.linspace(_HIGHEST / _KNOTS, _HIGHEST, _KNOTS, device=z.device)
    bell = (-frequency.square() / 2).exp()  # [F] both the characteristic function of N(0, 1) and the weight
    phase = seen[..., None] * frequency  # [B, K, F]
    apart = (phase.cos().mean(0) - bell).square() + phase.sin().mean(0).square()  # [K, F]
    return (apart * bell).sum(-1).mean() / ((1 - bell).square() * bell).sum()


OBJECTIVES = {"sigreg": Objective(sigreg, prevents_collapse=True)}
