"""Contrastive objective: a predicted latent is closer to its own target than to other targets (InfoNCE)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective

_TEMPERATURE = 0.1  # of the cosine similarity


def contrastive(batch: EncodedBatch) -> Tensor:
    """Return the cross-entropy of identifying the target of each window among those of all windows; 1 if uniform."""
    predicted = F.normalize(batch.open_loop[:, 1:].transpose(0, 1), dim=-1)  # (T, N, Z)
    count = predicted.shape[1]
    target = F.normalize(batch.z[:count, 1:].transpose(0, 1), dim=-1)
    mask = batch.mask[:count].T  # (T, N)
    similarity = predicted @ target.transpose(1, 2) / _TEMPERATURE  # (T, N, N)
    is_target = torch.eye(count, dtype=torch.bool, device=similarity.device)
    similarity = similarity.masked_fill((mask[:, None, :] == 0) & ~is_target, -math.inf)
    error = -F.log_softmax(similarity, -1).diagonal(dim1=1, dim2=2)  # (T, N)
    return masked_mean(error, mask) / math.log(max(count, 2))


OBJECTIVES = {"contrastive": Objective(contrastive, prevents_collapse=True)}
