"""robossl: robots that explore by themselves, learn their world without reward, and act on what they learned.

Importing it registers the environments with Gymnasium. Networks, physics and RL load when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.core.errors import OperationError, UsageError
from robossl.core.threads import set_openmp_passive_wait
from robossl.registry import register_envs

if TYPE_CHECKING:
    from robossl.streams import Stream
    from robossl.training.api import collect, evaluate, make, pretrain, train
    from robossl.training.config import LearnConfig
    from robossl.training.phases import learn
    from robossl.world_model import WorldModel, WorldModelConfig

__version__ = "0.1.0"

_HOMES = {
    "collect": "robossl.training.api",
    "pretrain": "robossl.training.api",
    "train": "robossl.training.api",
    "evaluate": "robossl.training.api",
    "make": "robossl.training.api",
    "learn": "robossl.training.phases",
    "LearnConfig": "robossl.training.config",
    "Stream": "robossl.streams",
    "WorldModelConfig": "robossl.world_model",
    "WorldModel": "robossl.world_model",
}

__all__ = [
    "LearnConfig",
    "OperationError",
    "Stream",
    "UsageError",
    "WorldModel",
    "WorldModelConfig",
    "collect",
    "evaluate",
    "learn",
    "make",
    "pretrain",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("agents", "assets", "envs"):
        return importlib.import_module(f"robossl.{name}")
    raise AttributeError(f"module 'robossl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


set_openmp_passive_wait()
register_envs()
