"""References of the pointmaze: PD control toward the goal, through the door if the goal is in the other room."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from .mpc import current_goals

_HALF = 0.5  # [m] unit of the goals
_DOOR = 0.2  # [m] y of the middle of the door
_DOOR_CLEARANCE = 0.05  # [m] from the middle of the door within which the ball fits through
_WALL_DISTANCE = 0.08  # [m] from the wall at which the ball turns into the door
_STIFFNESS, _DAMPING = 12.0, 1.5  # fraction of full force per meter of error, and per meter a second


class DoorController:
    """PD control along way points at the door; reads the true ball position."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]

    def reset(self, mask: np.ndarray) -> None:
        """Keep no state."""

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 2)."""
        goal = current_goals(self._simulation)
        assert goal is not None
        position, goal = self._simulation.robot.qpos, goal * _HALF
        side, goal_side = np.sign(position[:, 0]), np.sign(goal[:, 0])
        aligned = np.abs(position[:, 1] - _DOOR) < _DOOR_CLEARANCE
        away_from_wall = np.abs(position[:, 0]) > _WALL_DISTANCE
        door_y = np.full(len(position), _DOOR)
        before_door = np.stack([side * (_WALL_DISTANCE + 0.02), door_y], axis=1)
        behind_door = np.stack([goal_side * (_WALL_DISTANCE + 0.05), door_y], axis=1)
        way_point = np.where((away_from_wall & ~aligned)[:, None], before_door, behind_door)
        through_door = (side != goal_side) | ~away_from_wall & (np.abs(goal[:, 0]) > _WALL_DISTANCE)
        target = np.where(through_door[:, None], way_point, goal)
        return np.clip(_STIFFNESS * (target - position) - _DAMPING * self._simulation.robot.qvel, -1, 1)


REFERENCES = {"PointMaze": DoorController, "TwoRoom": DoorController}
