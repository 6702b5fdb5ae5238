"""Seeing in latents: what was observed, what will be, and by how much it changes."""

from __future__ import annotations

from torch import Tensor

from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def observation(batch: EncodedBatch) -> Tensor:
    """Error of the decoded rows, of the decoded open loop, and of the decoded change in its own units."""
    coder, decoder = batch.model.observations, batch.model.decoder
    if decoder is None:
        return batch.z.sum() * 0.0  # images are not decoded
    seen = decoder(batch.z)  # [B, T+1, D]
    here = masked_mean((seen - batch.vector).square().mean(-1), batch.rows)
    foreseen = decoder(batch.open_loop[:, 1:])  # [N, T, D]
    count = len(foreseen)
    ahead = masked_mean((foreseen - batch.vector[:count, 1:]).square().mean(-1), batch.mask[:count])
    change = (seen[:, 1:] - seen[:, :-1]) - (batch.vector[:, 1:] - batch.vector[:, :-1])
    delta = masked_mean((change / coder.delta_std).square().mean(-1), batch.mask)
    return (here + ahead + delta) / 3


OBJECTIVES = {"reconstruction": Objective(observation, weight=0.5, prevents_collapse=True)}
