"""Minds, one file each; a file here with a table AGENTS or POLICIES is a plug-in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bridge import SB3VecEnv
    from .extractor import RepresentationExtractor
    from .planner import GoalPlanner, Planner, PlannerConfig
    from .sb3 import Sb3Agent

_HOMES = {
    "GoalPlanner": "planner",
    "Planner": "planner",
    "PlannerConfig": "planner",
    "RepresentationExtractor": "extractor",
    "SB3VecEnv": "bridge",
    "Sb3Agent": "sb3",
}

__all__ = ["GoalPlanner", "Planner", "PlannerConfig", "RepresentationExtractor", "SB3VecEnv", "Sb3Agent"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # imported when asked for: torch and SB3 take seconds
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
