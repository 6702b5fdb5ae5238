"""Error prediction: a head predicts the error of the predicted next latent.

An error that all ensemble heads share does not show in their disagreement, but a network can learn to predict it
(learned loss, Yoo and Kweon, 2019). The objective is detached: encoder and dynamics get no gradient from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_MIN_SQUARED_ERROR = 1e-12


class ErrorPredictor(nn.Module):
    """z (..., Z), encoded action (..., A) -> natural logarithm (...) of the mean squared error of the next latent."""

    def __init__(self, config: WorldModelConfig, action_dim: int) -> None:
        super().__init__()
        self.mlp = MLP(config.latent_dim + action_dim, config.dynamics_hidden, 1, config.linear_skip)

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Return the log squared error; exp of half of it is the RMS error."""
        return self.mlp(torch.cat([z, action], -1))[..., 0]


def error_prediction(batch: EncodedBatch) -> Tensor:
    """Return the squared error of the log error of each window's first step, over its variance; 1 for a constant."""
    predicted = batch.open_loop[:, 1].detach()  # (N, Z)
    count = len(predicted)
    z, target, mask = batch.z[:count, 0].detach(), batch.z[:count, 1].detach(), batch.mask[:count, 0]
    log_error = (predicted - target).square().mean(-1).float().clamp_min(_MIN_SQUARED_ERROR).log()  # (N,)
    baseline = masked_mean((log_error - masked_mean(log_error, mask)).square(), mask).clamp_min(1e-3)
    expected = batch.model.heads["error_prediction"](z, batch.action[:count, 0])
    return masked_mean((expected - log_error).square(), mask) / baseline


OBJECTIVES = {
    "error_prediction": Objective(
        error_prediction, prevents_collapse=True, detached=True, make_head=ErrorPredictor
    )
}
