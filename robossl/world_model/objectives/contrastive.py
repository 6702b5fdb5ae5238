"""Telling apart: the foreseen latent of a window is nearer to its own encoding than to any other's (InfoNCE)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective

_TEMPERATURE = 0.1  # of cosine similarity


def contrastive(batch: EncodedBatch) -> Tensor:
    """Cross-entropy of finding one's own encoding among those of the other windows, 1 for a blind guess."""
    foreseen = F.normalize(batch.open_loop[:, 1:].transpose(0, 1), dim=-1)  # [T, N, Z]
    count = foreseen.shape[1]
    met = F.normalize(batch.z[:count, 1:].transpose(0, 1), dim=-1)
    real = batch.mask[:count].T  # [T, N]
    alike = foreseen @ met.transpose(1, 2) / _TEMPERATURE  # [T, N, N]
    own = torch.eye(count, dtype=torch.bool, device=alike.device)
    alike = alike.masked_fill((real[:, None, :] == 0) & ~own, -math.inf)
    error = -F.log_softmax(alike, -1).diagonal(dim1=1, dim2=2)  # [T, N]
    return masked_mean(error, real) / math.log(max(count, 2))


OBJECTIVES = {"contrastive": Objective(contrastive, prevents_collapse=True)}
