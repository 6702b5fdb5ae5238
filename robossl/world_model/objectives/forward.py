"""Forward dynamics: several steps of its own predictions against what was really encoded."""

from __future__ import annotations

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def forward(batch: EncodedBatch) -> Tensor:
    """Mean square error of the open loop against the encodings, which are targets only (stop-gradient)."""
    predicted = batch.open_loop[:, 1:]  # [N, T, Z]
    target = batch.z[: len(predicted), 1:].detach()
    return masked_mean((predicted - target).square().mean(-1), batch.mask[: len(predicted)])


OBJECTIVES = {"forward": Objective(forward)}
