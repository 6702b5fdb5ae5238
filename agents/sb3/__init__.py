"""Stable-Baselines3 algorithms as agents."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "AGENTS":  # SB3 and torch are imported when an agent is asked for
        return importlib.import_module(f"{__name__}.agent").AGENTS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
