"""Filling in: a hidden span of a trajectory, guessed from what came before and after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective


class MaskedLatentPredictor(nn.Module):
    """A window with holes -> all of its latents: z [B, T+1, Z], codes [B, T, A] and what of them is shown."""

    def __init__(self, config: WorldModelConfig, action: int) -> None:
        super().__init__()
        self.steps = config.unroll_steps
        size = (config.unroll_steps + 1) * (config.latent_dim + 1) + config.unroll_steps * action
        self.mlp = MLP(
            size, config.inverse_hidden, (config.unroll_steps + 1) * config.latent_dim, config.linear_skip
        )

    def forward(self, z: Tensor, code: Tensor, shown: Tensor) -> Tensor:
        """`shown` [B, T+1] bool; an action is shown where both rows it connects are."""
        if code.shape[1] != self.steps:
            raise UsageError(
                f"'masked_latent' was made for windows of {self.steps} steps, not {code.shape[1]}"
            )
        between = shown[:, 1:] & shown[:, :-1]  # [B, T]
        seen = torch.where(shown[..., None], z, torch.zeros_like(z))
        acted = torch.where(between[..., None], code, torch.zeros_like(code))
        inputs = torch.cat([seen.flatten(1), shown.to(z), acted.flatten(1)], 1)
        return self.mlp(inputs).reshape(z.shape)


def masked(batch: EncodedBatch) -> Tensor:
    """Error of the hidden latents, 1 where the mean over the batch is guessed."""
    hidden = _span(batch).to(batch.z.device)  # [B, T+1]
    real = batch.rows > 0
    guess = batch.model.heads["masked_latent"](batch.z, batch.code, real & ~hidden)
    target = torch.where(real[..., None], batch.z, torch.zeros_like(batch.z)).detach()
    rows = batch.rows[..., None]
    mean = (rows * target).sum((0, 1)) / rows.sum()
    spread = (rows * (target - mean).square()).sum() / (rows.sum() * target.shape[-1])
    error = masked_mean((guess - target).square().mean(-1), (hidden & real).to(batch.rows))
    return error / spread.clamp_min(1e-4)


def _span(batch: EncodedBatch) -> Tensor:
    """[B, T+1] bool: one span of one to half of the rows in each window, anywhere."""
    count, rows = batch.rows.shape
    length = torch.randint(1, rows // 2 + 1, (count, 1), generator=batch.random)
    start = (torch.rand(count, 1, generator=batch.random) * (rows - length + 1)).long()
    row = torch.arange(rows)
    return (row >= start) & (row < start + length)


OBJECTIVES = {"masked_latent": Objective(masked, make_head=MaskedLatentPredictor)}
