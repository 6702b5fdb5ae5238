"""Variance and covariance regularization: latent dimensions vary and are decorrelated (VICReg, arXiv 2105.04906)."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective

_COVARIANCE_WEIGHT = 0.04  # the standard deviation term has weight 1


def vicreg(batch: EncodedBatch) -> Tensor:
    """Return a hinge loss on standard deviations below 1 plus the mean squared covariance between dimensions."""
    weight = batch.observation_mask / batch.observation_mask.sum()  # (B, T+1)
    z = torch.where(batch.observation_mask[..., None] > 0, batch.z, torch.zeros_like(batch.z))
    mean = (weight[..., None] * z).sum((0, 1))
    centered = ((z - mean) * weight.sqrt()[..., None]).reshape(-1, z.shape[-1])
    covariance = centered.T @ centered  # (Z, Z)
    std = (covariance.diagonal() + 1e-4).sqrt()
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    return (1 - std).relu().mean() + _COVARIANCE_WEIGHT * off_diagonal.square().sum() / z.shape[-1]


OBJECTIVES = {"vicreg": Objective(vicreg, prevents_collapse=True)}
