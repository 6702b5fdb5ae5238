"""Heads on a frozen world model for reaching goals without reward: achieved goal, temporal distance, inverse policy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robossl.world_model.goal_heads.fit import create_goal_heads, fit_goal_heads
    from robossl.world_model.goal_heads.heads import GoalHeads

DEFAULT_UPDATES = 1500  # gradient steps of each head

__all__ = ["DEFAULT_UPDATES", "GoalHeads", "create_goal_heads", "fit_goal_heads"]

_MODULES = {
    "GoalHeads": "robossl.world_model.goal_heads.heads",
    "create_goal_heads": "robossl.world_model.goal_heads.fit",
    "fit_goal_heads": "robossl.world_model.goal_heads.fit",
}


def __getattr__(name: str) -> Any:
    if (
        name in _MODULES
    ):  # imported at first use: a world model imports the heads, and their fit imports world models
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
