"""Masked latents: a hidden span of a trajectory, predicted from the latents before and after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective


class MaskedLatentPredictor(nn.Module):
    """z (B, T+1, Z), actions (B, T, A) and a mask of visible time steps -> all latents (B, T+1, Z)."""

    def __init__(self, config: WorldModelConfig, action_dim: int) -> None:
        super().__init__()
        self.steps = config.unroll_steps
        input_dim = (self.steps + 1) * (config.latent_dim + 1) + self.steps * action_dim
        output_dim = (self.steps + 1) * config.latent_dim
        self.mlp = MLP(input_dim, config.inverse_hidden, output_dim, config.linear_skip)

    def forward(self, z: Tensor, action: Tensor, visible: Tensor) -> Tensor:
        """Return latents; `visible` (B, T+1) bool. An action is visible if both of its time steps are."""
        if action.shape[1] != self.steps:
            raise UsageError(f"masked_latent: expected windows of {self.steps} steps, got {action.shape[1]}")
        both = visible[:, 1:] & visible[:, :-1]  # (B, T)
        visible_z = torch.where(visible[..., None], z, torch.zeros_like(z))
        visible_action = torch.where(both[..., None], action, torch.zeros_like(action))
        inputs = torch.cat([visible_z.flatten(1), visible.to(z), visible_action.flatten(1)], 1)
        return self.mlp(inputs).reshape(z.shape)


def masked_latent(batch: EncodedBatch) -> Tensor:
    """Return the error of the hidden latents; 1 for the mean over the batch."""
    hidden = _random_spans(batch).to(batch.z.device)  # (B, T+1)
    valid = batch.observation_mask > 0
    predicted = batch.model.heads["masked_latent"](batch.z, batch.action, valid & ~hidden)
    target = torch.where(valid[..., None], batch.z, torch.zeros_like(batch.z)).detach()
    weight = batch.observation_mask[..., None]
    mean = (weight * target).sum((0, 1)) / weight.sum()
    variance = (weight * (target - mean).square()).sum() / (weight.sum() * target.shape[-1])
    error = masked_mean((predicted - target).square().mean(-1), (hidden & valid).to(batch.observation_mask))
    return error / variance.clamp_min(1e-4)


def _random_spans(batch: EncodedBatch) -> Tensor:
    """Return masks (B, T+1) of one span of one to half of the time steps, at a random position."""
    count, steps = batch.observation_mask.shape
    length = torch.randint(1, steps // 2 + 1, (count, 1), generator=batch.random)
    start = (torch.rand(count, 1, generator=batch.random) * (steps - length + 1)).long()
    step = torch.arange(steps)
    return (step >= start) & (step < start + length)


OBJECTIVES = {"masked_latent": Objective(masked_latent, make_head=MaskedLatentPredictor)}
