"""PushT: a round pusher and a T-shaped block on a table (after Florence et al. 2021 and Chi et al. 2023).

Action (2): velocity of the pusher along x and y, in units of 0.4 m/s.
Observation (11): pusher position / 0.2 m (2), block position / 0.2 m (2), cosine and sine of the block's angle (2),
pusher and block velocity / 0.4 m/s (4), block angular velocity / 5 rad/s (1).

Task PushT: push the block into a goal pose.
Goal (4): block position / 0.2 m, cosine and sine of its angle.
Reward: falls with the root mean square distance of the block's points from their goal positions, which combines
position and angle. Success: block within 2 cm and 20 degrees of the goal.
Episodes have 300 steps (12 s) and do not terminate early.
"""

from __future__ import annotations

import math

import numpy as np

from .engine.arrays import as_array
from .engine.task import GoalTask, Marker, Pose, Robot, cached_per_step
from .shared.reward_shaping import tolerance

_HALF = 0.2  # [m] from the center of the table to its rims
_PUSHER_RADIUS = 0.015  # [m]
_UNIT = 0.03  # [m] width of the bar and the stem of the T; the bar is 4 units long, the stem 3
_BAR = 6 / 7 * _UNIT  # [m] from the center of mass to the center of the bar
_STEM = _BAR - 2 * _UNIT  # [m] from the center of mass to the center of the stem, on the same line
_BLOCK_RADIUS = 0.0807  # [m] from the center of mass to the farthest corner, at the end of the stem
_RMS_RADIUS = 0.0440  # [m] root mean square distance of the block's points from its center of mass
_SPEED = 0.4  # [m/s] of the pusher at full action
_SPIN = 5.0  # [rad/s] of a block that is pushed at its end
_CONTACT = 1e-3  # [m] distance of pusher and block below which they count as in contact


class PushTRobot(Robot):
    """The pusher and the block; 25 control steps per second.

    A velocity servo drives the pusher; the block moves only while it is pushed. At angle 0 the block is an upright T;
    angles are counterclockwise.
    """

    model = "pusht/pusht.xml"
    substeps = 8  # of 0.005 s
    observation_limit = np.concatenate([np.full(6, 1.0), np.full(5, 10.0)])

    @cached_per_step
    def block_pose(self) -> np.ndarray:
        """Return (n, 4): block position [m], cosine and sine of its angle."""
        angle = self.qpos[:, 4:]
        return np.concatenate([self.qpos[:, 2:4], np.cos(angle), np.sin(angle)], axis=1)

    def observation(self) -> np.ndarray:
        """Return the observation (n, 11)."""
        observation = np.empty((len(self.qpos), 11), like=self.qpos)
        np.divide(self.qpos[:, :4], _HALF, out=observation[:, :4])
        observation[:, 4:6] = self.block_pose()[:, 2:]
        np.divide(self.qvel[:, :4], _SPEED, out=observation[:, 6:10])
        np.divide(self.qvel[:, 4], _SPIN, out=observation[:, 10])
        return observation

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 5): pusher and block position [m], block angle [rad]."""
        angle = np.arctan2(observation[:, 5:6], observation[:, 4:5])
        return np.concatenate([observation[:, :4] * _HALF, angle], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return positions [m], the block's angle, velocities [m/s, rad/s] and contact of pusher and block (0, 1)."""
        pose = self.block_pose()
        contact = block_distance(self.qpos[:, :2], pose) <= _PUSHER_RADIUS + _CONTACT
        return {
            "pusher_position": self.qpos[:, :2].copy(),
            "block_position": pose[:, :2].copy(),
            "block_angle_cos": pose[:, 2:3].copy(),
            "block_angle_sin": pose[:, 3:].copy(),
            "pusher_velocity": self.qvel[:, :2].copy(),
            "block_velocity": self.qvel[:, 2:4].copy(),
            "block_angular_velocity": self.qvel[:, 4:].copy(),
            "block_contact": contact.astype(np.float64)[:, None],
        }


def block_distance(point: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return (m,) [m] the distance of points (m, 2) from blocks in poses (m, 4) (see `block_pose`); 0 inside."""
    x, y = point[:, 0] - pose[:, 0], point[:, 1] - pose[:, 1]
    across = np.abs(pose[:, 2] * x + pose[:, 3] * y)
    along = pose[:, 2] * y - pose[:, 3] * x
    bar = _box_distance(across - 2 * _UNIT, np.abs(along - _BAR) - _UNIT / 2)
    stem = _box_distance(across - _UNIT / 2, np.abs(along - _STEM) - 1.5 * _UNIT)
    return np.minimum(bar, stem)


def _box_distance(outside_x: np.ndarray, outside_y: np.ndarray) -> np.ndarray:
    """Return the distance from a box, given the distances outside its sides (negative inside)."""
    return np.sqrt(np.maximum(outside_x, 0.0) ** 2 + np.maximum(outside_y, 0.0) ** 2)


class PushT(GoalTask[PushTRobot]):
    """Push the block into a goal pose."""

    robot = PushTRobot
    achieved_slice = slice(2, 6)
    max_episode_steps = 300  # 12 s
    goal_limit = np.ones(4)

    _POSITION_TOLERANCE = 0.02  # [m]
    _ANGLE_TOLERANCE = math.cos(math.radians(20))  # cosine
    _FULL_REWARD = 0.005  # [m] RMS distance of the block's points below which the reward is 1
    _MARGIN = 0.12  # [m] beyond `_FULL_REWARD`, at which the reward is 0.1
    _BLOCK_RANGE = 0.1  # [m] initial and goal positions of the block, from the center along x and y
    # [m] initial distance of the pusher from the block's center of mass
    _PUSHER_DISTANCE = (_BLOCK_RADIUS + _PUSHER_RADIUS + 0.005, 0.16)

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a random block pose with the pusher beside the block, at rest."""
        block = self._sample_block(random)
        while True:
            angle, distance = random.uniform(-math.pi, math.pi), random.uniform(*self._PUSHER_DISTANCE)
            pusher = block[:2] + distance * np.array([math.cos(angle), math.sin(angle)])
            if np.abs(pusher).max() < _HALF - _PUSHER_RADIUS:
                return np.concatenate([pusher, block]), np.zeros(5)

    def _sample_block(self, random: np.random.Generator) -> np.ndarray:
        """Return a block's position [m] and angle [rad] (3,)."""
        position = random.uniform(-self._BLOCK_RANGE, self._BLOCK_RANGE, 2)
        return np.append(position, random.uniform(-math.pi, math.pi))

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (4,) from the distribution of initial block poses."""
        x, y, angle = self._sample_block(random)
        return np.array([x / _HALF, y / _HALF, math.cos(angle), math.sin(angle)])

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) in [0, 1], falling with the RMS distance of the block's points from their goal positions."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool: position and angle are within their tolerances."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, from one computation of the pose error."""
        distance, cosine = pose_error(achieved, desired)
        rms_distance = np.sqrt(distance**2 + 2 * _RMS_RADIUS**2 * np.maximum(1 - cosine, 0.0))
        success = (distance <= self._POSITION_TOLERANCE) & (cosine >= self._ANGLE_TOLERANCE)
        return tolerance(rms_distance, -np.inf, self._FULL_REWARD, self._MARGIN), success

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 5) with the block at the goal and the pusher in the corner, without contact."""
        goal = np.asarray(goal, np.float64)
        x, y, angle = goal[:, 0] * _HALF, goal[:, 1] * _HALF, np.arctan2(goal[:, 3], goal[:, 2])
        gap = 0.005  # [m] between pusher and block
        # position of the pusher in the block's frame
        right, down = _UNIT / 2 + _PUSHER_RADIUS + gap, _BAR - _UNIT / 2 - _PUSHER_RADIUS - gap
        pusher_x = x + right * np.cos(angle) - down * np.sin(angle)
        pusher_y = y + right * np.sin(angle) + down * np.cos(angle)
        return np.stack([pusher_x, pusher_y, x, y, angle], axis=1)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return the block in the goal pose."""
        x, y, angle = self.goal_pose(goal[None])[0, 2:]
        cosine, sine = math.cos(angle), math.sin(angle)
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        thickness = 0.001  # [m] half; the marker lies on the table
        return [
            Marker("box", np.array([x, y, thickness]) + rotation @ [0.0, along, 0.0], size, rotation)
            for along, size in (
                (_BAR, (2 * _UNIT, _UNIT / 2, thickness)),
                (_STEM, (_UNIT / 2, 1.5 * _UNIT, thickness)),
            )
        ]


def pose_error(achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance [m] and the cosine of the angle, each (...,), between goals (..., 4)."""
    achieved, desired = as_array(achieved, np.float64), as_array(desired, np.float64)
    x, y = achieved[..., 0] - desired[..., 0], achieved[..., 1] - desired[..., 1]
    cosine = achieved[..., 2] * desired[..., 2] + achieved[..., 3] * desired[..., 3]
    return np.sqrt(x * x + y * y) * _HALF, cosine


TASKS = {"PushT": PushT}
