"""How the objectives share the encoder: nothing pulls latents together before something ties them down."""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.world_model.objective import Objective

_MEMORY = 0.98  # share of the past in the running loss of the inverse: about 50 updates
_ENOUGH = 0.5  # share of the actions explained from which on forward prediction counts in full
_FLOOR = (
    0.1  # what it counts at least: its networks learn at any weight, only its pull on the encoder shrinks
)


class LossBalancer:
    """Weights of the objectives, adapted to how much of the actions the inverse can already explain.

    Predicting is easiest where nothing differs. So an objective that a constant latent would
    satisfy (`prevents_collapse` is false) is held back until inverse dynamics has begun to work; that moment
    is seen in the inverse's own loss (1: nothing explained), so no env needs a weight of its own.
    """

    def __init__(
        self, objectives: dict[str, Objective], weights: dict[str, float], device: torch.device
    ) -> None:
        self.objectives, self.weights = objectives, weights
        self.inverse_error_ema = torch.ones((), device=device)  # running loss of the inverse

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The scalar to descend; remembers the inverse's loss without waiting for the device."""
        gate: Tensor | float = 1.0
        if "inverse" in losses:
            known = torch.lerp(losses["inverse"].detach().clamp_max(1.0), self.inverse_error_ema, _MEMORY)
            self.inverse_error_ema.copy_(known)  # in its place, where a recorded step finds it again
            gate = ((1 - known) / _ENOUGH).clamp(_FLOOR, 1.0)
        terms = [
            self.weights[name] * loss * (1.0 if self.objectives[name].prevents_collapse else gate)
            for name, loss in losses.items()
        ]
        return torch.stack(terms).sum()
