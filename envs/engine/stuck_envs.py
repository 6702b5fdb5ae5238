"""Which sub-environment of a third-party vector env does not return."""

from __future__ import annotations

import sys
from typing import Any

from gymnasium.vector import AsyncVectorEnv, VectorEnv


def stuck_env(envs: VectorEnv, thread: int) -> str:
    """Return `in sub-environment 3` of a call that runs in a thread; empty if it is not known.

    Args:
        envs: Gymnasium's vectorization.
        thread: Identifier of the thread that called `step` or `reset`.
    """
    if isinstance(envs, AsyncVectorEnv):
        waiting = [
            index for index, pipe in enumerate(envs.parent_pipes) if pipe is not None and not pipe.poll()
        ]
        return f"in sub-environment {', '.join(map(str, waiting[:8]))}" if waiting else ""
    frame: Any = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_locals.get("self") is envs and isinstance(index := frame.f_locals.get("index"), int):
            return f"in sub-environment {index}"
        frame = frame.f_back
    return ""
