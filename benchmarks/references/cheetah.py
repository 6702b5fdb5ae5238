"""References of the cheetah: foresight."""

from __future__ import annotations

import gymnasium as gym

from .mpc import ForesightConfig, SimulatorMPC


def run(envs: gym.vector.VectorEnv) -> SimulatorMPC:
    """Privileged: it plans in the true simulator."""
    return SimulatorMPC(envs, ForesightConfig())


REFERENCES = {"CheetahRun": run, "CheetahBackward": run}
