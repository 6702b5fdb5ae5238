"""Forward dynamics: the open-loop prediction of several steps against the encoded observations."""

from __future__ import annotations

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def forward(batch: EncodedBatch) -> Tensor:
    """Return the mean squared error of the open loop; the targets have no gradient (stop-gradient)."""
    predicted = batch.open_loop[:, 1:]  # (N, T, Z)
    target = batch.z[: len(predicted), 1:].detach()
    return masked_mean((predicted - target).square().mean(-1), batch.mask[: len(predicted)])


OBJECTIVES = {"forward": Objective(forward)}
