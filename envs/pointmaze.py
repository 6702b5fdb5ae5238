"""Pointmaze: a ball pushed through two rooms with one door between them, asked to roll to a place."""

from __future__ import annotations

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, to_column_major
from .shared.reward_shaping import as_scalar_array, tolerance

_HALF = as_scalar_array(0.5)  # [m] from the middle to the outer walls; the house is square
_RADIUS = 0.0286  # [m] of the ball
_WALL = 0.02  # [m] half the thickness of the wall between the rooms, which stands at x = 0
_DOOR = (0.1, 0.3)  # [m] y of the door's posts
_SPEED = as_scalar_array(0.8)  # [m/s] about the speed at which damping eats the full force: 0.5 N / 0.6 N s/m
_RIGHT, _LEFT = (
    as_scalar_array(_DOOR[0] + _RADIUS),
    as_scalar_array(_DOOR[1] - _RADIUS),
)  # [m] y of a ball that grazes a post
_TINY, _ZERO = as_scalar_array(1e-12), as_scalar_array(0.0)
_TOUCH = 5e-4  # [m] between ball and wall within which they count as touching


class Ball(Robot):
    """The ball, pushed along x and y by a force each; 25 control steps a second.

    Observation (4): position / 0.5 m, velocity / 0.8 m/s. The walls are not observed: they stand still.
    """

    model = "pointmaze/pointmaze.xml"
    substeps = 4  # of 0.01 s
    observation_limit = np.array([1, 1, 5, 5], np.float64)

    def observation(self) -> np.ndarray:
        """(n, 4)."""
        seen = np.empty((len(self.qpos), 4), order="F")
        np.divide(self.qpos, _HALF, out=seen[:, :2])
        np.divide(self.qvel, _SPEED, out=seen[:, 2:])
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 2): where the ball is."""
        return observation[:, :2] * _HALF

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Position [m], velocity [m/s], and whether the ball touches a wall (0, 1)."""
        touching = wall_gap(self.qpos) <= _TOUCH
        return {
            "position": self.qpos.copy(),
            "velocity": self.qvel.copy(),
            "wall_contact": touching.astype(np.float64)[:, None],
        }


def wall_gap(position: np.ndarray) -> np.ndarray:
    """(...,) [m] between a ball at (..., 2) and the nearest wall."""
    x, y = np.abs(position[..., 0]), position[..., 1]
    outer = _HALF - np.maximum(x, np.abs(y))
    beside = np.maximum(x - _WALL, 0.0)
    past = np.maximum(np.minimum(y - _DOOR[0], _DOOR[1] - y), 0.0)  # into the doorway, from the nearer post
    return np.minimum(outer, np.sqrt(beside**2 + past**2)) - _RADIUS


def shortest_path_length(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(...,) [m] length of the shortest way between (..., 2) and (..., 2): straight, or through the door.

    The wall is taken as thin: the way crosses x = 0 where the straight line does, or as near as the ball fits.
    """
    x, y = start[..., 0], start[..., 1]
    to_x, to_y = end[..., 0], end[..., 1]
    from_wall, to_wall, rise = np.abs(x), np.abs(to_x), to_y - y
    crossing = y + from_wall / np.maximum(from_wall + to_wall, _TINY) * rise
    crossing = np.minimum(np.maximum(crossing, _RIGHT), _LEFT)
    through = np.hypot(from_wall, crossing - y) + np.hypot(to_wall, to_y - crossing)
    return np.where(x * to_x < _ZERO, through, np.hypot(to_x - x, rise))


def _in_room(random: np.random.Generator, side: float) -> np.ndarray:
    """A place (2,) [m] in the west (side -1) or east room (1), a centimetre off the walls at least."""
    near, far = _WALL + _RADIUS + 0.01, _HALF - _RADIUS - 0.01
    return np.array([side * random.uniform(near, far), random.uniform(-far, far)])


class PointMaze(GoalTask):
    """Roll to a place: the ball's centre within 3 cm of it, from anywhere to anywhere in the house.

    Goal (2): the place in units of 0.5 m. The reward falls with the length of the way there, through the door
    where the place is in the other room.
    """

    robot = Ball
    achieved_slice = slice(0, 2)
    max_episode_steps = 200  # 8 s; across the house and through the door takes 3 s at full force
    goal_limit = np.ones(2)

    _TOLERANCE = 0.03  # [m] about the ball's radius
    _FULL = 0.01  # [m] of way left that earns the full reward
    _MARGIN = 0.5  # [m] beyond it, where 0.1 is left

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """In either room, at rest."""
        return _in_room(random, _either(random)), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(2,) in either room."""
        return _in_room(random, _either(random)) / _HALF

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """1 at the place, falling with the way that is left."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """The ball is at the place."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, from the same way."""
        left = shortest_path_length(to_column_major(achieved) * _HALF, to_column_major(desired) * _HALF)
        return tolerance(left, -np.inf, self._FULL, self._MARGIN), left <= as_scalar_array(self._TOLERANCE)

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 2): the ball at the place."""
        return np.asarray(goal, np.float64) * _HALF

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """A ball at the place."""
        return [
            Marker("sphere", np.append(np.asarray(goal, np.float64) * _HALF, _RADIUS), (self._TOLERANCE,))
        ]


def _either(random: np.random.Generator) -> float:
    """-1 or 1."""
    return float(random.integers(2) * 2 - 1)


class TwoRoom(PointMaze):
    """Roll from the west room through the door to a place in the east room."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """In the west room, at rest."""
        return _in_room(random, -1.0), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(2,) in the east room."""
        return _in_room(random, 1.0) / _HALF


TASKS = {"TwoRoom": TwoRoom, "PointMaze": PointMaze}
