"""Actions as the networks see them: a Box scaled to [-1, 1] by its bounds, a Discrete as one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space
from robossl.world_model.array_types import tensor


class ActionProcessor(nn.Module):
    """Env actions [..., *shape] <-> codes [..., A]. A side without a bound is taken as it is, unscaled."""

    center: Tensor  # [A]
    half_range: Tensor  # [A]

    def __init__(self, space: spaces.Space) -> None:
        """`RequestError` for a space that is neither Box nor Discrete."""
        super().__init__()
        if isinstance(space, spaces.Discrete):
            self.discrete, self.size = True, int(space.n)
            low, high = -np.ones(self.size), np.ones(self.size)
        elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.discrete, self.size = False, int(np.prod(space.shape, dtype=int))
            low, high = (b.reshape(-1).astype(np.float64) for b in (space.low, space.high))
        else:
            raise UsageError(
                f"actions of {format_space(space)} cannot be predicted from; there are: float Box, Discrete"
            )
        self.space: spaces.Box | spaces.Discrete = space
        bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        self.register_buffer("center", _buffer((low + high) / 2), persistent=False)
        self.register_buffer("half_range", _buffer((high - low) / 2), persistent=False)

    def forward(self, action: Any) -> Tensor:
        """Codes [..., A] of env actions [..., *shape]."""
        given = tensor(action, self.center.device)
        if isinstance(self.space, spaces.Discrete):
            return F.one_hot(given.long() - int(self.space.start), self.size).float()
        rank = len(self.space.shape)
        if tuple(given.shape[given.ndim - rank :]) != self.space.shape:
            raise UsageError(
                f"an action of shape {tuple(given.shape)} was given; expected (..., *{self.space.shape})"
            )
        flat = given.float().reshape(*given.shape[: given.ndim - rank], self.size)
        return (flat - self.center) / self.half_range

    def decode(self, code: Tensor) -> Tensor:
        """Env actions of codes [..., A]: Box clipped to its bounds, Discrete the likeliest."""
        if isinstance(self.space, spaces.Discrete):
            return code.argmax(-1) + int(self.space.start)
        low, high = (
            torch.as_tensor(bound.reshape(-1), dtype=torch.float32, device=code.device)
            for bound in (self.space.low, self.space.high)
        )
        flat = (code * self.half_range + self.center).clamp(low, high)
        return flat.reshape(*flat.shape[:-1], *self.space.shape)


def _buffer(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
