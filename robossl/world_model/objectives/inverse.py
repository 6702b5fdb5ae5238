"""Inverse dynamics: the action between two consecutive latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def action_error(processor: ActionProcessor, inferred: Tensor, action: Tensor) -> Tensor:
    """Return the error (...) of inferred actions (..., A): mean square; for Discrete the cross-entropy [nat]."""
    if processor.discrete:
        return -(action * F.log_softmax(inferred, -1)).sum(-1)
    return (inferred - action).square().mean(-1)


def baseline_error(processor: ActionProcessor, action: Tensor, mask: Tensor) -> Tensor:
    """Return the error of the best constant prediction: the variance; for Discrete the entropy [nat]."""
    weight = (mask / mask.sum().clamp_min(1.0))[..., None]  # (B, T, 1)
    mean = (weight * action).sum((0, 1))  # (A,)
    if processor.discrete:
        return (-(mean * mean.clamp_min(1e-8).log()).sum()).clamp_min(1e-3)
    return (weight * (action - mean).square()).sum((0, 1)).mean().clamp_min(1e-3)


def inverse(batch: EncodedBatch) -> Tensor:
    """Return the error of the action inferred from consecutive latents; 1 for the constant baseline."""
    now, after = batch.z[:, :-1], batch.z[:, 1:]
    inferred = batch.model.inverse(torch.cat([now, after - now], -1))  # (B, T, A)
    processor = batch.model.action_processor
    error = masked_mean(action_error(processor, inferred, batch.action), batch.mask)
    return error / baseline_error(processor, batch.action, batch.mask)


OBJECTIVES = {"inverse": Objective(inverse, prevents_collapse=True)}
