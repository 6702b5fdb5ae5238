"""Names and rate that an export states: the task, the robot, and the steps per second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from robossl.core.env_ids import base_id, is_robot_file


def task_name(header: Mapping[str, Any]) -> str:
    """Return the task of a stream: its env id without arguments, or its robot file without folder and suffix."""
    kwargs = header.get("env_kwargs")
    model = kwargs.get("model") if isinstance(kwargs, dict) else None
    env = base_id(str(header.get("env") or "unknown"))
    name = model if isinstance(model, str) and is_robot_file(model) else env
    return _stem(name) if is_robot_file(name) else name


def robot_name(header: Mapping[str, Any]) -> str:
    """Return the robot of a stream, such as "walker"; its task if the robot has no name."""
    robot = header.get("robot")
    return _stem(robot) if isinstance(robot, str) and robot else task_name(header)


def _stem(path: str) -> str:
    """Return the name of a file without its folders, of either kind of slash, and its suffix."""
    return PurePath(path.replace("\\", "/")).stem


def frames_per_second(header: Mapping[str, Any]) -> float | None:
    """Return the steps per second of a stream, a whole number as int; None if its header has none."""
    fps = header.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < math.inf:
        return None
    return round(fps) if math.isclose(fps, round(fps), rel_tol=1e-9) else float(fps)
