"""An objective of the world model: latents change slowly."""

from __future__ import annotations

import torch

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def slowness(batch: EncodedBatch) -> torch.Tensor:
    """Return the mean squared change of z between consecutive steps."""
    return masked_mean((batch.z[:, 1:] - batch.z[:, :-1]).square().mean(-1), batch.mask)


SLOWNESS = Objective(slowness, weight=0.1)
