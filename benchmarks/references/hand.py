"""Reference of the hand: a search over the true simulator, led on towards turning and towards keeping the cube."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from robossl.envs.engine.simulation import Simulation

from .mpc import ForesightConfig, SimulatorMPC

_SEARCH = ForesightConfig(samples=64, elites=8, kept=4, horizon=12, every=2, tail=3.0)


def _towards_turning(imagined: Simulation) -> np.ndarray:
    """(m,) half the spin [rad/s], and less from 2 cm outside the nest on.

    The reward alone is nearly 0 on either side of the wished speed, where a search needs a way up, and it is paid
    for jerks to and fro. The spin counts far beyond the wished speed, both ways, so that only the angle won counts.
    """
    body = imagined.body
    turning = np.clip(body.cube_spin()[2], -4.0, 4.0)  # type: ignore[attr-defined]
    outside = np.maximum(body.cube_distance() - 0.02, 0.0)  # type: ignore[attr-defined]
    return 0.5 * turning - outside / 0.03


def _turn(envs: gym.vector.VectorEnv) -> SimulatorMPC:
    """Plans of 0.6 s, made anew ten times a second."""
    return SimulatorMPC(envs, _SEARCH, _towards_turning)


REFERENCES = {"HandTurn": _turn}
