"""Reconstruction: the normalized vector observation, its prediction, and its change, decoded from z."""

from __future__ import annotations

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def reconstruction(batch: EncodedBatch) -> Tensor:
    """Return the mean error of decoded observations, of the decoded open loop, and of the decoded change.

    The error of the change is in units of the observation's own change in one step.
    """
    processor, decoder = batch.model.observation_processor, batch.model.decoder
    if decoder is None:
        return batch.z.sum() * 0.0  # images are not decoded
    decoded = decoder(batch.z)  # (B, T+1, D)
    current = masked_mean((decoded - batch.vector).square().mean(-1), batch.observation_mask)
    predicted = decoder(batch.open_loop[:, 1:])  # (N, T, D)
    count = len(predicted)
    future = masked_mean((predicted - batch.vector[:count, 1:]).square().mean(-1), batch.mask[:count])
    change = (decoded[:, 1:] - decoded[:, :-1]) - (batch.vector[:, 1:] - batch.vector[:, :-1])
    delta = masked_mean((change / processor.delta_std).square().mean(-1), batch.mask)
    return (current + future + delta) / 3


OBJECTIVES = {"reconstruction": Objective(reconstruction, weight=0.5, prevents_collapse=True)}
