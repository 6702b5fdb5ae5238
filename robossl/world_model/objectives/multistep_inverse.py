"""Multistep inverse dynamics: the first action on the way to a latent k steps later."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective
from robossl.world_model.objectives.inverse import action_error, baseline_error


class MultistepInverse(nn.Module):
    """z (..., Z), later z (..., Z), number of steps k (...) -> encoded action (..., A).

    With a goal latent as the later z it is a goal-conditioned policy.
    """

    def __init__(self, config: WorldModelConfig, action_dim: int) -> None:
        super().__init__()
        self.mlp = MLP(2 * config.latent_dim + 2, config.inverse_hidden, action_dim, config.linear_skip)

    def forward(self, z: Tensor, later: Tensor, steps: Tensor) -> Tensor:
        """Return encoded actions; the inputs for k are 1/k and log k."""
        k = steps.to(z).expand(z.shape[:-1])
        return self.mlp(torch.cat([z, later - z, (1 / k)[..., None], k.log()[..., None]], -1))


def multistep_inverse(batch: EncodedBatch) -> Tensor:
    """Return the error of the action at each step t < T, given the last latent of the window's episode."""
    head = batch.model.heads["multistep_inverse"]
    last = batch.mask.sum(1).long()  # (B,) index of the last observation of the episode
    end = batch.z[torch.arange(len(batch.z), device=last.device), last]  # (B, Z)
    steps = (last[:, None] - torch.arange(batch.action.shape[1], device=last.device)).clamp_min(1)  # (B, T)
    now = batch.z[:, :-1]
    inferred = head(now, end[:, None].expand_as(now), steps.float())
    processor = batch.model.action_processor
    error = masked_mean(action_error(processor, inferred, batch.action), batch.mask)
    return error / baseline_error(processor, batch.action, batch.mask)


OBJECTIVES = {
    "multistep_inverse": Objective(multistep_inverse, prevents_collapse=True, make_head=MultistepInverse)
}
