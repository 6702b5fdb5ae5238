"""The error of prediction, foretold: how far the next latent will be missed, told before the step is made.

The heads of an ensemble that all err alike agree, and their disagreement says nothing of it; a network that has seen
the errors can tell (learned loss: Yoo and Kweon, 2019). It shapes nothing else: neither the encoder nor the predictor
feels it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.networks import MLP
from robossl.world_model.objective import Objective

_LEAST = 1e-12  # a squared error below this counts as this


class ErrorPredictor(nn.Module):
    """z [..., Z], action code [..., A] -> natural logarithm [...] of the mean square error of the next latent."""

    def __init__(self, config: WorldModelConfig, action: int) -> None:
        super().__init__()
        self.mlp = MLP(config.latent_dim + action, config.dynamics_hidden, 1, config.linear_skip)

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """The logarithm; half of it, exponentiated, is a typical error in units of a latent's spread."""
        return self.mlp(torch.cat([z, code], -1))[..., 0]


def error(batch: EncodedBatch) -> Tensor:
    """Square error of the logarithm for the first step of each window, over its variance; 1 for a blind guess."""
    predicted = batch.open_loop[:, 1].detach()  # [N, Z]
    count = len(predicted)
    now, then, mask = batch.z[:count, 0].detach(), batch.z[:count, 1].detach(), batch.mask[:count, 0]
    size = (predicted - then).square().mean(-1).float().clamp_min(_LEAST).log()  # [N]
    blind = masked_mean((size - masked_mean(size, mask)).square(), mask).clamp_min(1e-3)
    guess = batch.model.heads["error_prediction"](now, batch.code[:count, 0])
    return masked_mean((guess - size).square(), mask) / blind


OBJECTIVES = {
    "error_prediction": Objective(error, prevents_collapse=True, detached=True, make_head=ErrorPredictor)
}
