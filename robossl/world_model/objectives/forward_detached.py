"""Forward dynamics that only look on: the predictor follows latents which something else has shaped."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch
from robossl.world_model.objective import Objective
from robossl.world_model.objectives.forward import forward


def onlooker(batch: EncodedBatch) -> Tensor:
    """As `forward`, and the encoder feels nothing of it: what predictions are worth without their pull."""
    return forward(replace(batch, z=batch.z.detach()))


OBJECTIVES = {"forward_detached": Objective(onlooker, prevents_collapse=True)}
