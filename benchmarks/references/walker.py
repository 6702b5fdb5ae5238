"""References of the walker: foresight."""

from __future__ import annotations

import gymnasium as gym

from .mpc import Foresight, ForesightConfig


def walk(envs: gym.vector.VectorEnv) -> Foresight:
    """Privileged: it plans in the true simulator."""
    return Foresight(envs, ForesightConfig())


REFERENCES = {"WalkerStand": walk, "WalkerWalk": walk, "WalkerRun": walk, "WalkerFlip": walk}
