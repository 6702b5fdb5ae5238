"""Inverse dynamics: which action led from one latent to the next."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def action_error(actions: ActionProcessor, guess: Tensor, code: Tensor) -> Tensor:
    """Error [...] of guessed codes [..., A]: mean square; for discrete actions cross-entropy [nat]."""
    if actions.discrete:
        return -(code * F.log_softmax(guess, -1)).sum(-1)
    return (guess - code).square().mean(-1)


def blind_error(actions: ActionProcessor, code: Tensor, mask: Tensor) -> Tensor:
    """What the best blind guess gets wrong: variance of the codes, or entropy [nat] of the choices."""
    weight = (mask / mask.sum().clamp_min(1.0))[..., None]  # [B, T, 1]
    mean = (weight * code).sum((0, 1))  # [A]
    if actions.discrete:
        return (-(mean * mean.clamp_min(1e-8).log()).sum()).clamp_min(1e-3)
    return (weight * (code - mean).square()).sum((0, 1)).mean().clamp_min(1e-3)


def inverse(batch: EncodedBatch) -> Tensor:
    """Error of the action inferred from each pair of neighbouring latents; 1 for a blind guess."""
    now, then = batch.z[:, :-1], batch.z[:, 1:]
    guess = batch.model.inverse(torch.cat([now, then - now], -1))  # [B, T, A]
    actions = batch.model.actions
    error = masked_mean(action_error(actions, guess, batch.code), batch.mask)
    return error / blind_error(actions, batch.code, batch.mask)


OBJECTIVES = {"inverse": Objective(inverse, prevents_collapse=True)}
