"""Objectives of the world model, one file each: a file defines `OBJECTIVES = {"name": Objective(...)}`."""

from __future__ import annotations

from robossl import registry
from robossl.world_model.objective import Objective


def objective(name: str) -> Objective:
    """Return the objective of this name, built-in or third-party; an unknown name raises `UsageError`."""
    return registry.load("objectives", name)
