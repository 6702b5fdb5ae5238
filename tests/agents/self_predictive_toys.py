"""Small settings and helpers for the tests of the self-predictive agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

SMALL: dict[str, Any] = {
    "latent_dim": 16, "encoder_hidden": 16, "action_embedding_dim": 8, "policy_hidden": 16, "value_hidden": 16,
    "batch_size": 16, "learning_starts": 24, "target_update_interval": 4, "updates_per_step": 0.5,
}  # fmt: skip


def weights(networks: Any) -> np.ndarray:
    """Return a copy of all parameters as one vector."""
    return torch.cat([p.detach().reshape(-1) for p in networks.parameters()]).numpy().copy()
