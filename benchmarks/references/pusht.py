"""References of the pusher: foresight that also likes to be near the block, for nothing else moves it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from .mpc import ForesightConfig, SimulatorMPC

_CONFIG = ForesightConfig(samples=48, iterations=2, horizon=24, every=4, spread=0.7, memory=0.85)
_NEAR = 0.2  # [1/m] reward lost with distance from the block


def _nearness(simulation: Any) -> np.ndarray:
    """(m,) so much less the farther the pusher is from the block's middle."""
    qpos = simulation.body.qpos
    return -_NEAR * np.sqrt((qpos[:, 0] - qpos[:, 2]) ** 2 + (qpos[:, 1] - qpos[:, 3]) ** 2)


def push(envs: gym.vector.VectorEnv) -> SimulatorMPC:
    """Privileged: it plans in the true simulator."""
    return SimulatorMPC(envs, _CONFIG, _nearness)


REFERENCES = {"PushT": push}
