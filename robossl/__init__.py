"""robossl: self-supervised world models for robots: explore, learn dynamics without reward, act, evaluate transfer.

Importing it registers the environments with Gymnasium. Everything slow to import (torch, MuJoCo, SB3) is imported at
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.core.errors import OperationError, UsageError
from robossl.core.threads import set_openmp_passive_wait
from robossl.registry import register, register_envs

if TYPE_CHECKING:
    from robossl.streams import Stream
    from robossl.training.api import collect, evaluate, make, pretrain, relabel, train
    from robossl.training.config import LearnConfig
    from robossl.training.phases import learn
    from robossl.world_model import WorldModel, WorldModelConfig

__version__ = "0.1.0"

_EXPORTS = {  # name -> module that defines it, imported at first use
    "LearnConfig": "robossl.training.config",
    "Stream": "robossl.streams",
    "WorldModel": "robossl.world_model",
    "WorldModelConfig": "robossl.world_model",
    "collect": "robossl.training.api",
    "evaluate": "robossl.training.api",
    "learn": "robossl.training.phases",
    "make": "robossl.training.api",
    "pretrain": "robossl.training.api",
    "relabel": "robossl.training.api",
    "train": "robossl.training.api",
}
_SUBPACKAGES = ("agents", "assets", "envs")

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
    "register",
    "relabel",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"robossl.{name}")
    raise AttributeError(f"module 'robossl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


set_openmp_passive_wait()
register_envs()
