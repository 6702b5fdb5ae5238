"""What is learned: encoders, dynamics, objectives, the learner, the dream.

Networks load when first needed: settings are read, and help is shown, without them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.world_model.config import WorldModelConfig

if TYPE_CHECKING:
    from robossl.world_model.model import WorldModel
    from robossl.world_model.trainer import WorldModelTrainer

__all__ = ["WorldModel", "WorldModelConfig", "WorldModelTrainer"]

_HOMES = {"WorldModelTrainer": "robossl.world_model.trainer", "WorldModel": "robossl.world_model.model"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'robossl.world_model' has no attribute {name!r}")
