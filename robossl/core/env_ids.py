"""Environment ids: a Gymnasium id, or the path of a robot's MJCF file."""

from __future__ import annotations

import os


def is_mjcf_path(env: str) -> bool:
    """Return whether `env` is the path of an MJCF file; the file need not exist."""
    return env.lower().endswith((".xml", ".mjcf"))


def canonical_id(env: str) -> str:
    """Return the id to store: the absolute path of an MJCF file, a Gymnasium id unchanged."""
    return os.path.abspath(env) if is_mjcf_path(env) else env


def display_name(env: str) -> str:
    """Return the id for a heading: the file name of an MJCF file, a Gymnasium id unchanged."""
    return os.path.basename(env) if is_mjcf_path(env) else env
