"""Minds, one file each; a file here with a table AGENTS or POLICIES is a plug-in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .planner import GoalPlanner, Planner, PlannerConfig
    from .sb3.agent import Sb3Agent
    from .sb3.extractor import RepresentationExtractor
    from .sb3.vec_env import SB3VecEnv

_HOMES = {
    "GoalPlanner": "planner",
    "Planner": "planner",
    "PlannerConfig": "planner",
    "RepresentationExtractor": "sb3.extractor",
    "SB3VecEnv": "sb3.vec_env",
    "Sb3Agent": "sb3.agent",
}

__all__ = ["GoalPlanner", "Planner", "PlannerConfig", "RepresentationExtractor", "SB3VecEnv", "Sb3Agent"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # imported when asked for: torch and SB3 take seconds
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
