"""References of the cheetah: foresight."""

from __future__ import annotations

import gymnasium as gym

from .mpc import Foresight, ForesightConfig


def run(envs: gym.vector.VectorEnv) -> Foresight:
    """Privileged: it plans in the true simulator."""
    return Foresight(envs, ForesightConfig())


REFERENCES = {"CheetahRun": run, "CheetahBackward": run}
