"""References of the hopper: foresight."""

from __future__ import annotations

import gymnasium as gym

from .mpc import Foresight, ForesightConfig


def hop(envs: gym.vector.VectorEnv) -> Foresight:
    """Privileged: it plans in the true simulator."""
    return Foresight(envs, ForesightConfig())


REFERENCES = {"HopperStand": hop, "HopperHop": hop}
