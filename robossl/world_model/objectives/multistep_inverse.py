"""Inverse dynamics over several steps: the first action of the way to a latent k steps ahead."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective
from robossl.world_model.objectives.inverse import action_error, blind_error


class EndpointInverse(nn.Module):
    """z [..., Z], later [..., Z], k [...] steps -> action code [..., A]; with a goal as `later`, a policy."""

    def __init__(self, config: WorldModelConfig, action: int) -> None:
        super().__init__()
        self.mlp = MLP(2 * config.latent_dim + 2, config.inverse_hidden, action, config.linear_skip)

    def forward(self, z: Tensor, later: Tensor, steps: Tensor) -> Tensor:
        """`steps` is told as 1/k and log k."""
        k = steps.to(z).expand(z.shape[:-1])
        return self.mlp(torch.cat([z, later - z, (1 / k)[..., None], k.log()[..., None]], -1))


def endpoint(batch: EncodedBatch) -> Tensor:
    """Error of the action at each row t < T, told the last latent of the window that is really reached."""
    head = batch.model.heads["multistep_inverse"]
    reached = batch.mask.sum(1).long()  # [B] the last row of the real part
    end = batch.z[torch.arange(len(batch.z), device=reached.device), reached]  # [B, Z]
    steps = (reached[:, None] - torch.arange(batch.code.shape[1], device=reached.device)).clamp_min(
        1
    )  # [B, T]
    now = batch.z[:, :-1]
    guess = head(now, end[:, None].expand_as(now), steps.float())
    actions = batch.model.actions
    error = masked_mean(action_error(actions, guess, batch.code), batch.mask)
    return error / blind_error(actions, batch.code, batch.mask)


OBJECTIVES = {"multistep_inverse": Objective(endpoint, prevents_collapse=True, make_head=EndpointInverse)}
