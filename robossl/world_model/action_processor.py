"""Actions as network inputs: a Box scaled to [-1, 1] by its bounds, a Discrete as one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.encoding import decode, encode, encoded_dim
from robossl.core.errors import UsageError
from robossl.core.spaces import format_space
from robossl.world_model.array_types import to_tensor


class ActionProcessor(nn.Module):
    """Conversion between env actions (..., *shape) and encoded actions (..., A).

    An action dimension without finite bounds is not scaled.
    """

    center: Tensor  # (A,)
    half_range: Tensor  # (A,)

    def __init__(self, space: spaces.Space) -> None:
        """Create the conversion for `space`; UsageError if it is neither a float Box nor Discrete."""
        super().__init__()
        if isinstance(space, spaces.Discrete):
            self.discrete, self.dim = True, encoded_dim(space)
            low, high = -np.ones(self.dim), np.ones(self.dim)
        elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.discrete, self.dim = False, encoded_dim(space)
            low, high = (b.reshape(-1).astype(np.float64) for b in (space.low, space.high))
        else:
            raise UsageError(
                f"action space: expected float Box or Discrete, got {format_space(space)}; wrap the env"
            )
        self.space: spaces.Box | spaces.Discrete = space
        bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        self.register_buffer("center", _float_tensor((low + high) / 2), persistent=False)
        self.register_buffer("half_range", _float_tensor((high - low) / 2), persistent=False)

    def forward(self, action: Any) -> Tensor:
        """Return encoded actions (..., A) of env actions (..., *shape)."""
        action = to_tensor(action, self.center.device)
        if isinstance(self.space, spaces.Discrete):
            return encode(self.space, action)
        try:
            return (encode(self.space, action) - self.center) / self.half_range
        except UsageError as error:
            raise UsageError(f"action: {error}") from None

    def decode(self, encoded: Tensor) -> Tensor:
        """Return env actions of encoded actions (..., A): a Box clipped to its bounds, a Discrete the argmax."""
        if isinstance(self.space, spaces.Discrete):
            return decode(self.space, encoded)
        low, high = (
            torch.as_tensor(bound.reshape(-1), dtype=torch.float32, device=encoded.device)
            for bound in (self.space.low, self.space.high)
        )
        return decode(self.space, (encoded * self.half_range + self.center).clamp(low, high))


def _float_tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
