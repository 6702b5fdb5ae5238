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
    from robossl import plot
    from robossl.evaluation.results import EvaluationReport
    from robossl.streams import Stream
    from robossl.study.study_run import transfer
    from robossl.sweeps.sweep_run import sweep
    from robossl.training.api import collect, evaluate, make, pretrain, relabel, train
    from robossl.training.config import LearnConfig
    from robossl.training.loading import Run, load
    from robossl.training.phases import learn
    from robossl.training.pretrained import from_pretrained, model_card, pretrained_names
    from robossl.training.resuming import resume
    from robossl.world_model import WorldModel, WorldModelConfig
    from robossl.world_model.wrappers import RepresentationVectorWrapper, RepresentationWrapper

__version__ = "0.1.0"

_EXPORTS = {  # name -> module that defines it, imported at first use
    "EvaluationReport": "robossl.evaluation.results",
    "LearnConfig": "robossl.training.config",
    "RepresentationVectorWrapper": "robossl.world_model.wrappers",
    "RepresentationWrapper": "robossl.world_model.wrappers",
    "Run": "robossl.training.loading",
    "Stream": "robossl.streams",
    "WorldModel": "robossl.world_model",
    "WorldModelConfig": "robossl.world_model",
    "collect": "robossl.training.api",
    "evaluate": "robossl.training.api",
    "from_pretrained": "robossl.training.pretrained",
    "learn": "robossl.training.phases",
    "load": "robossl.training.loading",
    "make": "robossl.training.api",
    "model_card": "robossl.training.pretrained",
    "pretrain": "robossl.training.api",
    "pretrained_names": "robossl.training.pretrained",
    "relabel": "robossl.training.api",
    "resume": "robossl.training.resuming",
    "sweep": "robossl.sweeps.sweep_run",
    "train": "robossl.training.api",
    "transfer": "robossl.study.study_run",
}
_SUBMODULES = ("agents", "assets", "envs", "plot")

__all__ = [
    "EvaluationReport",
    "LearnConfig",
    "OperationError",
    "RepresentationVectorWrapper",
    "RepresentationWrapper",
    "Run",
    "Stream",
    "UsageError",
    "WorldModel",
    "WorldModelConfig",
    "collect",
    "evaluate",
    "from_pretrained",
    "learn",
    "load",
    "make",
    "model_card",
    "plot",
    "pretrain",
    "pretrained_names",
    "register",
    "relabel",
    "resume",
    "sweep",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"robossl.{name}")
    raise AttributeError(f"module 'robossl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


set_openmp_passive_wait()
register_envs()
