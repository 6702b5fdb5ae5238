"""SIGReg: random projections of the latents are normally distributed (LeJEPA, arXiv 2511.08544)."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective

_DIRECTIONS = 64  # random projections, drawn in every update
_FREQUENCIES = 17  # points of the integral over frequencies
_MAX_FREQUENCY = 4.0


def sigreg(batch: EncodedBatch) -> Tensor:
    """Return the Epps-Pulley distance of projections of each window's first latent to N(0, 1); 1 for z = 0."""
    z = batch.z[:, 0]  # (B, Z)
    directions = torch.randn(z.shape[1], _DIRECTIONS, generator=batch.random).to(z.device)
    projected = z @ (directions / directions.norm(dim=0))  # (B, K)
    frequency = torch.linspace(_MAX_FREQUENCY / _FREQUENCIES, _MAX_FREQUENCY, _FREQUENCIES, device=z.device)
    normal = (-frequency.square() / 2).exp()  # (F,) characteristic function of N(0, 1), and the weight
    phase = projected[..., None] * frequency  # (B, K, F)
    distance = (phase.cos().mean(0) - normal).square() + phase.sin().mean(0).square()  # (K, F)
    return (distance * normal).sum(-1).mean() / ((1 - normal).square() * normal).sum()


OBJECTIVES = {"sigreg": Objective(sigreg, prevents_collapse=True)}
