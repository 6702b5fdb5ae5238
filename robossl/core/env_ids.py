"""How an environment is named: by a Gymnasium id, or by the MJCF file of a robot."""

from __future__ import annotations

import os


def is_mjcf_path(env: str) -> bool:
    """The name is that of an MJCF file, whether it is there or not."""
    return env.lower().endswith((".xml", ".mjcf"))


def canonical_id(env: str) -> str:
    """The env as it is written down: a file by its whole path, an id as it is."""
    return os.path.abspath(env) if is_mjcf_path(env) else env


def display_name(env: str) -> str:
    """The env as a heading: a file by its name alone, an id as it is."""
    return os.path.basename(env) if is_mjcf_path(env) else env
