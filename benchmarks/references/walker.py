"""References of the walker: foresight, a little shorter than usual, for its physics takes the longest."""

from __future__ import annotations

import gymnasium as gym

from .mpc import ForesightConfig, SimulatorMPC

_CONFIG = ForesightConfig(samples=24, horizon=16, every=4)


def walk(envs: gym.vector.VectorEnv) -> SimulatorMPC:
    """Privileged: it plans in the true simulator."""
    return SimulatorMPC(envs, _CONFIG)


REFERENCES = {"WalkerStand": walk, "WalkerWalk": walk, "WalkerRun": walk, "WalkerFlip": walk}
