"""References of the reacher: PD control of each joint toward a pose that meets the goal."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from .mpc import current_goals

_STIFFNESS = 6.0  # [1/rad] fraction of full torque per radian of error
_DAMPING = 0.35  # [s/rad] fraction of full torque per radian a second


class PoseController:
    """PD control; reads the true joint angles and velocities and the goal pose."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]

    def reset(self, mask: np.ndarray) -> None:
        """Keep no state."""

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 2)."""
        target = self._simulation.task.goal_pose(current_goals(self._simulation))  # (n, 2) [rad]
        error = target - self._simulation.robot.qpos
        # the error of the shoulder is wrapped; the elbow has limits
        error[:, 0] = (error[:, 0] + np.pi) % (2 * np.pi) - np.pi
        return np.clip(_STIFFNESS * error - _DAMPING * self._simulation.robot.qvel, -1, 1)


REFERENCES = {"Reacher": PoseController, "ReacherHard": PoseController}
