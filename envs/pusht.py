"""PushT: a round pusher on a table and a block in the shape of a T, asked to push the block into a pose."""

from __future__ import annotations

import math

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, cached_per_step
from .shared.reward_shaping import tolerance

_HALF = 0.2  # [m] from the middle of the table to its rims
_PUSHER = 0.015  # [m] radius of the pusher
_UNIT = 0.03  # [m] width of the bar and the stem of the T; the bar is 4 units long, the stem 3
_BAR = 6 / 7 * _UNIT  # [m] from the centre of mass to the middle of the bar
_STEM = _BAR - 2 * _UNIT  # [m] from the centre of mass to the middle of the stem, along the same line
_REACH = 0.0807  # [m] from the centre of mass to the block's farthest corner, the foot of the stem
_SPREAD = 0.0440  # [m] root of the mean square distance of the block's points from its centre of mass
_SPEED = 0.4  # [m/s] of the pusher at full action
_SPIN = 5.0  # [rad/s] of a block pushed at its end
_TOUCH = 1e-3  # [m] between pusher and block within which they count as touching
_HEIGHT = 0.0125  # [m] of the block's middle above the table


class PusherAndBlock(Robot):
    """The pusher, driven at a wished velocity, and the block, which moves only while it is pushed; 25 steps a second.

    Observation (11): pusher and block position / 0.2 m, cosine and sine of the block's angle, their velocities
    / 0.4 m/s, the block's spin / 5 rad/s. The block is upright as a T at angle 0 and turns counterclockwise.
    """

    model = "pusht/pusht.xml"
    substeps = 8  # of 0.005 s
    observation_limit = np.concatenate([np.full(6, 1.0), np.full(5, 10.0)])

    @cached_per_step
    def block_pose(self) -> np.ndarray:
        """(n, 4): position [m], cosine and sine of the angle."""
        angle = self.qpos[:, 4:]
        return np.concatenate([self.qpos[:, 2:4], np.cos(angle), np.sin(angle)], axis=1)

    def observation(self) -> np.ndarray:
        """(n, 11)."""
        seen = np.empty((len(self.qpos), 11))
        np.divide(self.qpos[:, :4], _HALF, out=seen[:, :4])
        seen[:, 4:6] = self.block_pose()[:, 2:]
        np.divide(self.qvel[:, :4], _SPEED, out=seen[:, 6:10])
        np.divide(self.qvel[:, 4], _SPIN, out=seen[:, 10])
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 5): where pusher and block are, and the angle whose cosine and sine are observed."""
        angle = np.arctan2(observation[:, 5:6], observation[:, 4:5])
        return np.concatenate([observation[:, :4] * _HALF, angle], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Places [m], the angle as cosine and sine, velocities [m/s, rad/s], whether pusher and block touch (0, 1)."""
        pose = self.block_pose()
        touching = block_gap(self.qpos[:, :2], pose) <= _PUSHER + _TOUCH
        return {
            "pusher_position": self.qpos[:, :2].copy(),
            "block_position": pose[:, :2].copy(),
            "block_angle_cos": pose[:, 2:3].copy(),
            "block_angle_sin": pose[:, 3:].copy(),
            "pusher_velocity": self.qvel[:, :2].copy(),
            "block_velocity": self.qvel[:, 2:4].copy(),
            "block_angular_velocity": self.qvel[:, 4:].copy(),
            "block_contact": touching.astype(np.float64)[:, None],
        }


def block_gap(point: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(m,) [m] from points (m, 2) to the surface of blocks in poses (m, 4); 0 inside."""
    x, y = point[:, 0] - pose[:, 0], point[:, 1] - pose[:, 1]
    across = np.abs(pose[:, 2] * x + pose[:, 3] * y)
    along = pose[:, 2] * y - pose[:, 3] * x
    bar = _box_gap(across - 2 * _UNIT, np.abs(along - _BAR) - _UNIT / 2)
    stem = _box_gap(across - _UNIT / 2, np.abs(along - _STEM) - 1.5 * _UNIT)
    return np.minimum(bar, stem)


def _box_gap(beyond_x: np.ndarray, beyond_y: np.ndarray) -> np.ndarray:
    """Distance from a box to what lies so far beyond its sides (negative: within)."""
    return np.sqrt(np.maximum(beyond_x, 0.0) ** 2 + np.maximum(beyond_y, 0.0) ** 2)


class PushT(GoalTask):
    """Push the block into a pose: its centre within 2 cm, its angle within 20 degrees.

    Goal (4): the block's position / 0.2 m, cosine and sine of its angle. The reward falls with the distance
    that the block's points have to go, root mean square over all of them: one number for place and angle.
    """

    robot = PusherAndBlock
    achieved_slice = slice(2, 6)
    max_episode_steps = 300  # 12 s
    goal_limit = np.ones(4)

    _PLACE = 0.02  # [m]
    _ANGLE = math.cos(math.radians(20))
    _FULL = 0.005  # [m] distance of the block's points that earns the full reward
    _MARGIN = 0.12  # [m] beyond it, where 0.1 is left
    _INNER = 0.1  # [m] lives and goals have the block this close to the middle, along x and along y

    _BESIDE = (
        _REACH + _PUSHER + 0.005,
        0.16,
    )  # [m] from the block's centre of mass to the pusher as lives begin

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """The block anywhere in the inner square, the pusher beside it, at rest."""
        block = self._drop(random)
        while True:
            angle, distance = random.uniform(-math.pi, math.pi), random.uniform(*self._BESIDE)
            pusher = block[:2] + distance * np.array([math.cos(angle), math.sin(angle)])
            if np.abs(pusher).max() < _HALF - _PUSHER:
                return np.concatenate([pusher, block]), np.zeros(5)

    def _drop(self, random: np.random.Generator) -> np.ndarray:
        """A block's position [m] and angle [rad] (3,)."""
        place = random.uniform(-self._INNER, self._INNER, 2)
        return np.append(place, random.uniform(-math.pi, math.pi))

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(4,) of a pose as lives begin in."""
        x, y, angle = self._drop(random)
        return np.array([x / _HALF, y / _HALF, math.cos(angle), math.sin(angle)])

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """1 in the pose, falling with the distance of the block's points from where they should be."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Place and angle are within their tolerances."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, from the same distance and angle."""
        distance, cosine = pose_error(achieved, desired)
        points = np.sqrt(distance**2 + 2 * _SPREAD**2 * np.maximum(1 - cosine, 0.0))
        reached = (distance <= self._PLACE) & (cosine >= self._ANGLE)
        return tolerance(points, -np.inf, self._FULL, self._MARGIN), reached

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 5): the block in the pose, the pusher in the corner of bar and stem, touching neither."""
        goal = np.asarray(goal, np.float64)
        x, y, angle = goal[:, 0] * _HALF, goal[:, 1] * _HALF, np.arctan2(goal[:, 3], goal[:, 2])
        aside, down = (
            _UNIT / 2 + _PUSHER + 0.005,
            _BAR - _UNIT / 2 - _PUSHER - 0.005,
        )  # [m] in the block's frame
        pusher_x = x + aside * np.cos(angle) - down * np.sin(angle)
        pusher_y = y + aside * np.sin(angle) + down * np.cos(angle)
        return np.stack([pusher_x, pusher_y, x, y, angle], axis=1)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """The block in the goal pose."""
        x, y, angle = self.goal_pose(goal[None])[0, 2:]
        cosine, sine = math.cos(angle), math.sin(angle)
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        thin = 0.001  # [m] it lies on the table
        return [
            Marker("box", np.array([x, y, thin]) + rotation @ [0.0, along, 0.0], size, rotation)
            for along, size in (
                (_BAR, (2 * _UNIT, _UNIT / 2, thin)),
                (_STEM, (_UNIT / 2, 1.5 * _UNIT, thin)),
            )
        ]


def pose_error(achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [m] and the cosine of the angle, each (...,), between goals (..., 4)."""
    achieved, desired = np.asarray(achieved, np.float64), np.asarray(desired, np.float64)
    x, y = achieved[..., 0] - desired[..., 0], achieved[..., 1] - desired[..., 1]
    cosine = achieved[..., 2] * desired[..., 2] + achieved[..., 3] * desired[..., 3]
    return np.sqrt(x * x + y * y) * _HALF, cosine


TASKS = {"PushT": PushT}
