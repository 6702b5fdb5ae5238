"""Robots and their tasks, one file per robot, with the engine that simulates them.

This module provides what a robot file of another package needs. Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.arrays import as_array
    from .engine.env_adapter import EnvAdapter, MujocoAdapter
    from .engine.gymnasium_envs import GymnasiumVectorEnv, make_gymnasium_envs
    from .engine.registration import is_native, register, register_tasks
    from .engine.single_env import MujocoEnv, MujocoGoalEnv
    from .engine.task import GoalTask, Marker, Pose, Robot, Task, cached_per_step
    from .engine.vector_env import MujocoVectorEnv
    from .shared.reward_shaping import tolerance

_MODULES = {
    "EnvAdapter": "engine.env_adapter",
    "GoalTask": "engine.task",
    "GymnasiumVectorEnv": "engine.gymnasium_envs",
    "Marker": "engine.task",
    "MujocoAdapter": "engine.env_adapter",
    "MujocoEnv": "engine.single_env",
    "MujocoGoalEnv": "engine.single_env",
    "MujocoVectorEnv": "engine.vector_env",
    "Pose": "engine.task",
    "Robot": "engine.task",
    "Task": "engine.task",
    "as_array": "engine.arrays",
    "cached_per_step": "engine.task",
    "is_native": "engine.registration",
    "make_gymnasium_envs": "engine.gymnasium_envs",
    "register": "engine.registration",
    "register_tasks": "engine.registration",
    "tolerance": "shared.reward_shaping",
}

__all__ = [
    "EnvAdapter",
    "GoalTask",
    "GymnasiumVectorEnv",
    "Marker",
    "MujocoAdapter",
    "MujocoEnv",
    "MujocoGoalEnv",
    "MujocoVectorEnv",
    "Pose",
    "Robot",
    "Task",
    "as_array",
    "cached_per_step",
    "is_native",
    "make_gymnasium_envs",
    "register",
    "register_tasks",
    "tolerance",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
