"""Forward dynamics: several steps of its own predictions against what was really encoded."""

from __future__ import annotations

from torch import Tensor

from robossl.world.batch import Batch, masked_mean
from robossl.world.objective import Objective


def forward(batch: Batch) -> Tensor:
    """Mean square error of the open loop against the encodings, which are targets only (stop-gradient)."""
    predicted = batch.open_loop[:, 1:]  # [N, T, Z]
    target = batch.z[: len(predicted), 1:].detach()
    return masked_mean((predicted - target).square().mean(-1), batch.mask[: len(predicted)])


OBJECTIVES = {"forward": Objective(forward)}
