"""Spread: every latent dimension varies, and no two of them say the same (VICReg, arXiv 2105.04906)."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective

_COVARIANCE = 0.04  # weight beside the standard deviation's 1


def variance(batch: EncodedBatch) -> Tensor:
    """Hinge on each dimension's standard deviation (at least 1) and mean square of what dimensions share."""
    weight = batch.rows / batch.rows.sum()  # [B, T+1]
    z = torch.where(batch.rows[..., None] > 0, batch.z, torch.zeros_like(batch.z))
    mean = (weight[..., None] * z).sum((0, 1))
    centred = ((z - mean) * weight.sqrt()[..., None]).reshape(-1, z.shape[-1])
    covariance = centred.T @ centred  # [Z, Z]
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    off = covariance - torch.diag(covariance.diagonal())
    return (1 - deviation).relu().mean() + _COVARIANCE * off.square().sum() / z.shape[-1]


OBJECTIVES = {"vicreg": Objective(variance, prevents_collapse=True)}
