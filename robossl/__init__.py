"""robossl: robots that explore by themselves, learn their world without reward, and act on what they learned.

Importing it registers the environments with Gymnasium. Networks, physics and RL load when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robossl.core.errors import RequestError, WorkError
from robossl.core.threads import wait_asleep
from robossl.lab.plugins import register_envs

if TYPE_CHECKING:
    from robossl.lab.api import collect, evaluate, make, pretrain, train
    from robossl.lab.config import LearnConfig
    from robossl.lab.loop import learn
    from robossl.streams import Stream
    from robossl.world import WorldConfig, WorldModel

__version__ = "0.1.0"

_HOMES = {
    "collect": "robossl.lab.api",
    "pretrain": "robossl.lab.api",
    "train": "robossl.lab.api",
    "evaluate": "robossl.lab.api",
    "make": "robossl.lab.api",
    "learn": "robossl.lab.loop",
    "LearnConfig": "robossl.lab.config",
    "Stream": "robossl.streams",
    "WorldConfig": "robossl.world",
    "WorldModel": "robossl.world",
}

__all__ = [
    "LearnConfig",
    "RequestError",
    "Stream",
    "WorkError",
    "WorldConfig",
    "WorldModel",
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


wait_asleep()
register_envs()
