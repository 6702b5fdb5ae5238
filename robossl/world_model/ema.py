"""The model that is handed out: an average of the weights over the last hundred or so gradient steps.

At a constant learning rate the weights never come to rest; each head of the ensemble trembles by itself, and its
disagreement tells of the tremor rather than of what the model does not know. Averaged weights (Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992) are at rest without an end to the learning.
"""

from __future__ import annotations

import torch
from torch import nn

_MEMORY = 100  # [updates] the average looks back, about


@torch.no_grad()
def update_ema(average: nn.Module, online: nn.Module, updates: int) -> None:
    """Draw the weights of `average` towards `online` after its `updates`-th gradient step; at first more closely."""
    weight = max(1 / _MEMORY, 9 / (9 + updates))  # a long memory needs a past first
    torch._foreach_lerp_(list(average.parameters()), list(online.parameters()), weight)
