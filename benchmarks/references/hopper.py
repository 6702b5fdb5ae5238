"""References of the hopper: foresight."""

from __future__ import annotations

import gymnasium as gym

from .mpc import ForesightConfig, SimulatorMPC


def hop(envs: gym.vector.VectorEnv) -> SimulatorMPC:
    """Privileged: it plans in the true simulator."""
    return SimulatorMPC(envs, ForesightConfig())


REFERENCES = {"HopperStand": hop, "HopperHop": hop}
