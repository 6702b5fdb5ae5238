"""Weights of the losses: losses that a constant encoder can minimize are scaled down until inverse dynamics works."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.objective import Objective

_DECAY = 0.98  # of the moving average of the inverse loss: about 50 updates
_FULL_WEIGHT_AT = 0.5  # fraction of the action variance explained at which the other losses have full weight
_MIN_WEIGHT = 0.1  # the networks learn at any weight; only the gradient for the encoder is reduced


class LossBalancer:
    """Sum of the losses with weights that depend on the inverse loss.

    Forward prediction alone is minimized by a constant encoder. Losses with this property (`prevents_collapse` is
    false) are scaled down until inverse dynamics explains half of the action variance. The inverse loss is 1 when it
    explains nothing, in any env, so the schedule needs no setting for each env.
    """

    def __init__(
        self, objectives: dict[str, Objective], weights: dict[str, float], device: torch.device
    ) -> None:
        self.objectives, self.weights = objectives, weights
        self.inverse_error_ema = torch.ones((), device=device)  # moving average of the inverse loss

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses and update the average, without waiting for the device."""
        scale: Tensor | float = 1.0
        if "inverse" in losses:
            scale, average = inverse_scale(losses["inverse"], self.inverse_error_ema)
            self.inverse_error_ema.copy_(average)  # in place: a CUDA graph keeps the address
        terms = [
            self.weights[name] * loss * (1.0 if self.objectives[name].prevents_collapse else scale)
            for name, loss in losses.items()
        ]
        return torch.stack(terms).sum()


def inverse_scale(error: Tensor, average: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale of losses that a constant encoder can minimize, and the new average of the inverse loss.

    Args:
        error: Inverse loss (...) of this update.
        average: Its moving average (...) before this update.
    """
    average = torch.lerp(error.detach().clamp_max(1.0), average, _DECAY)
    return ((1 - average) / _FULL_WEIGHT_AT).clamp(_MIN_WEIGHT, 1.0), average
