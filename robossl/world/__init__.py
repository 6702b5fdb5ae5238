"""What is learned: encoders, dynamics, objectives, the learner, the dream.

Networks load when first needed: settings are read, and help is shown, without them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.world.config import WorldConfig

if TYPE_CHECKING:
    from robossl.world.learner import WorldLearner
    from robossl.world.model import WorldModel

__all__ = ["WorldConfig", "WorldLearner", "WorldModel"]

_HOMES = {"WorldLearner": "robossl.world.learner", "WorldModel": "robossl.world.model"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'robossl.world' has no attribute {name!r}")
