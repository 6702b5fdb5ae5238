"""Pointmaze: a ball in two rooms that one door connects, after the TwoRoom environment of PLDM (Sobal et al. 2025).

Action (2): force along x and y, in units of 0.5 N.
Observation (4): position / 0.5 m (2), velocity / 0.8 m/s (2). The walls are fixed and not observed.

| task | initial position | goal (2), position / 0.5 m | reward | success |
| --- | --- | --- | --- | --- |
| PointMaze | either room | either room | falls with the length of the shortest path | within 3 cm |
| TwoRoom | west room | east room | the same | the same |

Episodes have 200 steps (8 s) and do not terminate early.
"""

from __future__ import annotations

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, to_column_major
from .shared.reward_shaping import as_scalar_array, tolerance

_HALF = as_scalar_array(0.5)  # [m] from the center to the outer walls of the square maze
_RADIUS = 0.0286  # [m] of the ball
_WALL = 0.02  # [m] half the thickness of the wall between the rooms, at x = 0
_DOOR = (0.1, 0.3)  # [m] y of the door's two ends
_SPEED = as_scalar_array(0.8)  # [m/s] about the final speed at full force, 0.5 N / 0.6 N s/m
# [m] y range in which the ball fits through
_DOOR_LOW, _DOOR_HIGH = as_scalar_array(_DOOR[0] + _RADIUS), as_scalar_array(_DOOR[1] - _RADIUS)
_TINY, _ZERO = as_scalar_array(1e-12), as_scalar_array(0.0)
_CONTACT = 5e-4  # [m] distance of ball and wall below which they count as in contact


class PointMazeRobot(Robot):
    """The ball; 25 control steps per second."""

    model = "pointmaze/pointmaze.xml"
    substeps = 4  # of 0.01 s
    observation_limit = np.array([1, 1, 5, 5], np.float64)

    def observation(self) -> np.ndarray:
        """Return the observation (n, 4)."""
        observation = np.empty((len(self.qpos), 4), order="F", like=self.qpos)
        np.divide(self.qpos, _HALF, out=observation[:, :2])
        np.divide(self.qvel, _SPEED, out=observation[:, 2:])
        return observation

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 2): the position of the ball [m]."""
        return observation[:, :2] * _HALF

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return position [m], velocity [m/s] and wall contact (0, 1)."""
        contact = wall_distance(self.qpos) <= _CONTACT
        return {
            "position": self.qpos.copy(),
            "velocity": self.qvel.copy(),
            "wall_contact": contact.astype(np.float64)[:, None],
        }


def wall_distance(position: np.ndarray) -> np.ndarray:
    """Return the distance (...,) [m] between balls at (..., 2) [m] and the nearest wall."""
    x, y = np.abs(position[..., 0]), position[..., 1]
    outer = _HALF - np.maximum(x, np.abs(y))
    from_wall = np.maximum(x - _WALL, 0.0)
    from_door_end = np.maximum(np.minimum(y - _DOOR[0], _DOOR[1] - y), 0.0)
    return np.minimum(outer, np.sqrt(from_wall**2 + from_door_end**2)) - _RADIUS


def shortest_path_length(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the length (...,) [m] of the shortest path between positions (..., 2) [m].

    The wall is taken as thin: the path crosses x = 0 where the straight line does, or as near to that as the ball fits
    through the door.
    """
    x, y = start[..., 0], start[..., 1]
    to_x, to_y = end[..., 0], end[..., 1]
    from_wall, to_wall, rise = np.abs(x), np.abs(to_x), to_y - y
    crossing = y + from_wall / np.maximum(from_wall + to_wall, _TINY) * rise
    crossing = np.minimum(np.maximum(crossing, _DOOR_LOW), _DOOR_HIGH)
    through = np.hypot(from_wall, crossing - y) + np.hypot(to_wall, to_y - crossing)
    return np.where(x * to_x < _ZERO, through, np.hypot(to_x - x, rise))


def _sample_in_room(random: np.random.Generator, side: float) -> np.ndarray:
    """Return a position (2,) [m] in the west (side -1) or east room (1), at least 1 cm from the walls."""
    near, far = _WALL + _RADIUS + 0.01, _HALF - _RADIUS - 0.01
    return np.array([side * random.uniform(near, far), random.uniform(-far, far)])


class PointMaze(GoalTask[PointMazeRobot]):
    """Roll to a goal position; start and goal are anywhere in the two rooms."""

    robot = PointMazeRobot
    achieved_slice = slice(0, 2)
    max_episode_steps = 200  # 8 s; the longest path takes 3 s at full force
    goal_limit = np.ones(2)

    _TOLERANCE = 0.03  # [m] of success, about the ball's radius
    _FULL_REWARD = 0.01  # [m] path length below which the reward is 1
    _MARGIN = 0.5  # [m] beyond `_FULL_REWARD`, at which the reward is 0.1

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a position in either room, at rest."""
        return _sample_in_room(random, _random_side(random)), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (2,) in either room."""
        return _sample_in_room(random, _random_side(random)) / _HALF

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) in [0, 1], falling with the length of the path to the goal."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool: the path to the goal is no longer than 3 cm."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, from one computation of the path length."""
        length = shortest_path_length(to_column_major(achieved) * _HALF, to_column_major(desired) * _HALF)
        reward = tolerance(length, -np.inf, self._FULL_REWARD, self._MARGIN)
        return reward, length <= as_scalar_array(self._TOLERANCE)

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 2) [m] with the ball at the goal."""
        return np.asarray(goal, np.float64) * _HALF

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return a sphere at the goal."""
        position = np.append(np.asarray(goal, np.float64) * _HALF, _RADIUS)
        return [Marker("sphere", position, (self._TOLERANCE,))]


def _random_side(random: np.random.Generator) -> float:
    """Return -1 or 1."""
    return float(random.integers(2) * 2 - 1)


class TwoRoom(PointMaze):
    """Roll from the west room through the door to a goal in the east room."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a position in the west room, at rest."""
        return _sample_in_room(random, -1.0), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (2,) in the east room."""
        return _sample_in_room(random, 1.0) / _HALF


TASKS = {"TwoRoom": TwoRoom, "PointMaze": PointMaze}
