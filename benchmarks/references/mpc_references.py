"""References that plan in the true simulator: cheetah, hand, hopper, pusht and walker."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from .mpc import MPCConfig, RewardBonus, SimulatorMPC

_WALKER = MPCConfig(num_samples=24, horizon=16, replan_every=4)  # shorter, because its physics is the slowest
_PUSHT = MPCConfig(
    num_samples=48, num_iterations=2, horizon=24, replan_every=4, init_std=0.7, noise_correlation=0.85
)
_HAND = MPCConfig(num_samples=64, num_elites=8, num_kept=4, horizon=12, replan_every=2, terminal_steps=3.0)
_PUSHER_DISTANCE_COST = 0.2  # [1/m]


def _stay_near_block(simulation: Any) -> np.ndarray:
    """Return (m,) a penalty for the distance from pusher to block: the block moves only when it is pushed."""
    qpos = simulation.robot.qpos
    return -_PUSHER_DISTANCE_COST * np.sqrt((qpos[:, 0] - qpos[:, 2]) ** 2 + (qpos[:, 1] - qpos[:, 3]) ** 2)


def _spin_cube(simulation: Any) -> np.ndarray:
    """Return (m,): half the cube's spin [rad/s] minus a penalty for more than 2 cm from its rest position.

    The reward of HandTurn is almost flat away from the target speed and also pays for oscillation. This bonus has a
    slope up to 4 rad/s in both directions, so that only the net angle counts.
    """
    robot = simulation.robot
    spin = np.clip(robot.cube_spin()[2], -4.0, 4.0)
    outside = np.maximum(robot.cube_distance() - 0.02, 0.0)
    return 0.5 * spin - outside / 0.03


def _planner(
    envs: gym.vector.VectorEnv, config: MPCConfig | None = None, bonus: RewardBonus | None = None
) -> SimulatorMPC:
    return SimulatorMPC(envs, config, bonus)


REFERENCES = {
    "CheetahRun": _planner,
    "CheetahBackward": _planner,
    "HandTurn": partial(_planner, config=_HAND, bonus=_spin_cube),
    "HopperStand": _planner,
    "HopperHop": _planner,
    "PushT": partial(_planner, config=_PUSHT, bonus=_stay_near_block),
    "WalkerStand": partial(_planner, config=_WALKER),
    "WalkerWalk": partial(_planner, config=_WALKER),
    "WalkerRun": partial(_planner, config=_WALKER),
    "WalkerFlip": partial(_planner, config=_WALKER),
}
