"""Forward dynamics without a gradient for the encoder: other objectives train the encoder."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective
from robossl.world_model.objectives.forward import forward


def forward_detached(batch: EncodedBatch) -> Tensor:
    """Return the loss of `forward` on detached latents."""
    return forward(replace(batch, z=batch.z.detach()))


OBJECTIVES = {"forward_detached": Objective(forward_detached, prevents_collapse=True)}
