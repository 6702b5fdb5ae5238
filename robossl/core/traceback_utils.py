"""Whose line it was: the innermost line of a traceback that is of an environment, not of what calls it or serves it."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

import gymnasium
import numpy

_OURS = Path(__file__).resolve().parents[1]  # the folder robossl
_GYMNASIUM = Path(gymnasium.__file__).resolve().parent
_NUMPY = Path(numpy.__file__).resolve().parent
_LIBRARIES = tuple(
    str(folder) + os.sep
    for folder in (_OURS / "env_checker", _OURS / "training", _OURS / "core", _GYMNASIUM, _NUMPY)
)
_STANDARD = sysconfig.get_path("stdlib") + os.sep


def innermost_env_frame(
    frames: Iterable[traceback.FrameSummary], but: tuple[str, ...] = ()
) -> traceback.FrameSummary | None:
    """The innermost frame that is of an env; files that `but` names are none."""
    own = (f for f in reversed(list(frames)) if not is_library_file(f.filename) and f.filename not in but)
    return next(own, None)


def is_library_file(name: str) -> bool:
    """The file is code that calls environments, or is called by them, and is none."""
    path = os.path.abspath(name)
    if name.startswith("<") or not name.endswith(".py"):  # made by Python itself, or compiled
        return True
    if path.startswith(str(_GYMNASIUM / "envs") + os.sep) and not path.endswith("registration.py"):
        return False  # Gymnasium's own environments
    return path.startswith(_LIBRARIES) or (path.startswith(_STANDARD) and "site-packages" not in path)


def format_location(frames: Iterable[traceback.FrameSummary]) -> str:
    """`my_env.py:31 (self.arm.move(action))`: the innermost line that is of the env; nothing where none is."""
    frame = innermost_env_frame(frames)
    if frame is None:
        return ""
    line = f" ({frame.line})" if frame.line else ""
    return f"{relative_path(frame.filename)}:{frame.lineno}{line}"


def relative_path(name: str) -> str:
    """A path as it is read most easily from here."""
    relative = os.path.relpath(name)
    return name if relative.startswith("..") else relative
