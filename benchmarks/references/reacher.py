"""References of the two-link arm: a spring and a damper at each joint, pulling to a pose that meets the goal."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from .mpc import goals_of

_SPRING = 6.0  # [1/rad] share of full torque for each radian of error
_DAMPER = 0.35  # [s/rad] and for each radian a second


class ToPose:
    """Privileged: it reads joint angles and velocities, and the goal's own pose."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]

    def reset(self, mask: np.ndarray) -> None:
        """There is nothing to remember."""

    def act(self, observation: Any) -> np.ndarray:
        """(n, 2)."""
        wanted = self._simulation.task.pose_at(goals_of(self._simulation))  # (n, 2) [rad]
        error = wanted - self._simulation.body.qpos
        error[:, 0] = (error[:, 0] + np.pi) % (2 * np.pi) - np.pi  # the elbow cannot go round
        return np.clip(_SPRING * error - _DAMPER * self._simulation.body.qvel, -1, 1)


REFERENCES = {"Reacher": ToPose, "ReacherHard": ToPose}
