"""World models: encoder, dynamics, objectives, training, imagined rollouts.

Networks are imported at first use, so that settings and help texts load without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.world_model.config import WorldModelConfig

if TYPE_CHECKING:
    from robossl.world_model.env import WorldModelEnv
    from robossl.world_model.model import WorldModel
    from robossl.world_model.reward_model import RewardModel
    from robossl.world_model.trainer import WorldModelTrainer

__all__ = ["RewardModel", "WorldModel", "WorldModelConfig", "WorldModelEnv", "WorldModelTrainer"]

_MODULES = {
    "RewardModel": "robossl.world_model.reward_model",
    "WorldModel": "robossl.world_model.model",
    "WorldModelEnv": "robossl.world_model.env",
    "WorldModelTrainer": "robossl.world_model.trainer",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'robossl.world_model' has no attribute {name!r}")
