"""Agents, planners and exploration policies, one file each; a table AGENTS or POLICIES in a file registers them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .planner import GoalPlanner
    from .sb3.agent import Sb3Agent
    from .sb3.extractor import RepresentationExtractor
    from .sb3.vec_env import SB3VecEnv
    from .shared.cem import Planner, PlannerConfig

_MODULES = {
    "GoalPlanner": "planner",
    "Planner": "shared.cem",
    "PlannerConfig": "shared.cem",
    "RepresentationExtractor": "sb3.extractor",
    "SB3VecEnv": "sb3.vec_env",
    "Sb3Agent": "sb3.agent",
}

__all__ = ["GoalPlanner", "Planner", "PlannerConfig", "RepresentationExtractor", "SB3VecEnv", "Sb3Agent"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # imported at first use, because torch and SB3 take seconds
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
