"""Reacher: a two-link arm with joint torques in the horizontal plane, after dm_control's Reacher.

Action (2): torques of shoulder and elbow, in units of 0.05 N m.
Observation (8): cosines (2) and sines (2) of the joint angles, joint velocities / 5 rad/s (2), fingertip / 0.24 m (2).

| task | goal | reward | success |
| --- | --- | --- | --- |
| Reacher | (4): cosines and sines of joint angles | falls with the distance in joint space | both within 0.1 rad |
| ReacherHard | (2): position / 0.24 m | falls with the fingertip's distance | fingertip within 15 mm |

Episodes have 200 steps (8 s) and do not terminate early. A random pose is a success of Reacher once in 900.
"""

from __future__ import annotations

import math

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, to_column_major
from .shared.reward_shaping import as_scalar_array, tolerance

_LINK = 0.12  # [m] length of each link
_REACH = 2 * _LINK  # [m] from the shoulder to the fingertip of the straight arm
_HEIGHT = 0.02  # [m] of the arm's plane above the table
_HALF, _ONE = as_scalar_array(0.5), as_scalar_array(1.0)
_ELBOW_LIMIT = math.radians(160)
_SPEED = as_scalar_array(5.0)  # [rad/s] final speed at full torque, 0.05 N m / 0.01 N m s/rad


class ReacherRobot(Robot):
    """The arm; the shoulder turns freely, the elbow within 160 degrees; 25 control steps per second.

    The observation is column-major, so that computations on its columns read contiguous memory.
    """

    model = "reacher/reacher.xml"
    substeps = 2  # of 0.02 s
    observation_limit = np.array([1, 1, 1, 1, 10, 10, 1, 1], np.float64)
    mass_groups = {"forearm": ("lower",)}  # noqa: RUF012

    def observation(self) -> np.ndarray:
        """Return the observation (n, 8)."""
        joints = self.qpos.copy("F")
        observation = np.empty((len(joints), 8), order="F", like=joints)
        cosine, sine = observation[:, :2], observation[:, 2:4]
        np.cos(joints, out=cosine)
        np.sin(joints, out=sine)
        speed = observation[:, 4:6]
        speed[...] = self.qvel
        speed /= _SPEED
        _fingertip(cosine, sine, _HALF, out=observation[:, 6:])  # links of length 1/2: in units of the reach
        return observation

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 2): the joint angles [rad]."""
        return np.arctan2(observation[:, 2:4], observation[:, :2])

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return joint angles, joint velocities [rad/s] and fingertip position [m]."""
        return {
            "joint_position_cos": np.cos(self.qpos),
            "joint_position_sin": np.sin(self.qpos),
            "joint_velocity": self.qvel.copy(),
            "fingertip": _REACH * self.observation()[:, 6:],
        }


def fingertip(joints: np.ndarray) -> np.ndarray:
    """Return fingertip positions (..., 2) [m] of joint angles (..., 2) [rad]."""
    return _fingertip(np.cos(joints), np.sin(joints), as_scalar_array(_LINK), out=np.empty(joints.shape))


def _fingertip(cosine: np.ndarray, sine: np.ndarray, link: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write to `out` the fingertip positions (..., 2) of joint cosines and sines (..., 2) and a link length."""
    shoulder_cosine, shoulder_sine = cosine[..., 0], sine[..., 0]
    elbow_cosine, elbow_sine = _ONE + cosine[..., 1], sine[..., 1]
    np.subtract(shoulder_cosine * elbow_cosine, shoulder_sine * elbow_sine, out=out[..., 0])
    np.add(shoulder_sine * elbow_cosine, shoulder_cosine * elbow_sine, out=out[..., 1])
    out *= link
    return out


def _sample_joints(random: np.random.Generator) -> np.ndarray:
    """Return joint angles (2,) [rad], uniform within the limits."""
    return random.uniform([-math.pi, -_ELBOW_LIMIT], [math.pi, _ELBOW_LIMIT])


class Reacher(GoalTask[ReacherRobot]):
    """Reach a goal pose; angles are compared modulo 2 pi."""

    robot = ReacherRobot
    achieved_slice = slice(0, 4)
    max_episode_steps = 200  # 8 s
    goal_limit = np.ones(4)

    _TOLERANCE = 0.1  # [rad] of each joint
    _FULL_REWARD = 0.05  # [rad] distance in joint space below which the reward is 1
    _MARGIN = 2.0  # [rad] beyond `_FULL_REWARD`, at which the reward is 0.1

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return random joint angles, at rest."""
        return _sample_joints(random), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (4,) from the distribution of initial poses."""
        joints = _sample_joints(random)
        return np.concatenate([np.cos(joints), np.sin(joints)])

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) in [0, 1], falling with the distance in joint space."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool: both joints are within 0.1 rad."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, from one computation of the joint error."""
        square = joint_error(achieved, desired)
        square *= square
        shoulder, elbow = square[..., 0], square[..., 1]
        success = np.maximum(shoulder, elbow) <= as_scalar_array(self._TOLERANCE**2)
        return tolerance(np.sqrt(shoulder + elbow), -np.inf, self._FULL_REWARD, self._MARGIN), success

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 2): the joint angles [rad] of the goal."""
        goal = np.asarray(goal, np.float64)
        return np.arctan2(goal[:, 2:], goal[:, :2])

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return the arm in the goal pose."""
        joints = self.goal_pose(goal[None])[0]
        shoulder = np.array([0.0, 0.0, _HEIGHT])
        elbow = shoulder + [_LINK * math.cos(joints[0]), _LINK * math.sin(joints[0]), 0.0]
        tip = np.append(fingertip(joints), _HEIGHT)
        return [
            Marker.rod(shoulder, elbow, 0.01),
            Marker.rod(elbow, tip, 0.009),
            Marker("sphere", tip, (0.014,)),
        ]


def joint_error(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """Return signed angles (..., 2) [rad] in [-pi, pi] from achieved to desired goals (..., 4)."""
    cosine, sine = _split_goal(achieved)
    goal_cosine, goal_sine = _split_goal(desired)
    sine_error = goal_sine * cosine
    sine_error -= goal_cosine * sine
    cosine_error = goal_cosine * cosine
    cosine_error += goal_sine * sine
    return np.arctan2(sine_error, cosine_error)


def _split_goal(goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines, each (..., 2), of goals (..., 4)."""
    goal = to_column_major(goal)
    return goal[..., :2], goal[..., 2:]


class ReacherHard(GoalTask[ReacherRobot]):
    """Reach a small target with the fingertip; targets are uniform over the reachable ring."""

    robot = ReacherRobot
    achieved_slice = slice(6, 8)
    max_episode_steps = 200  # 8 s
    goal_limit = np.ones(2)

    _TOLERANCE = 0.015  # [m]
    _MARGIN = 0.2  # [m]
    _RING = (0.05, 0.22)  # [m] radii around the shoulder, within the elbow's limit and the reach

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return random joint angles, at rest."""
        return _sample_joints(random), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (2,), uniform over the area of the ring."""
        inner, outer = self._RING
        radius = math.sqrt(random.uniform(inner**2, outer**2))
        angle = random.uniform(-math.pi, math.pi)
        return np.array([radius * math.cos(angle), radius * math.sin(angle)]) / _REACH

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) in [0, 1], falling with the distance of the fingertip."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool: the fingertip is within 15 mm of the target."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, from one computation of the distance."""
        distance = _distance(achieved, desired)
        reward = tolerance(distance, -np.inf, self._TOLERANCE / 2, self._MARGIN)
        return reward, distance <= as_scalar_array(self._TOLERANCE)

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 2) [rad] with the elbow bent to the left."""
        goal = np.asarray(goal, np.float64) * _REACH  # (m, 2) [m]
        square = goal[:, 0] ** 2 + goal[:, 1] ** 2
        elbow = np.arccos(np.clip(square / (2 * _LINK**2) - 1, -1, 1))
        elbow = np.minimum(elbow, _ELBOW_LIMIT)
        return np.stack([np.arctan2(goal[:, 1], goal[:, 0]) - elbow / 2, elbow], axis=1)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return a sphere at the target."""
        position = np.append(np.asarray(goal, np.float64) * _REACH, _HEIGHT)
        return [Marker("sphere", position, (self._TOLERANCE,))]


def _distance(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """Return the distance (...,) [m] between goals (..., 2)."""
    offset = to_column_major(achieved) - to_column_major(desired)
    offset *= as_scalar_array(_REACH)
    offset *= offset
    return np.sqrt(offset[..., 0] + offset[..., 1])


TASKS = {"Reacher": Reacher, "ReacherHard": ReacherHard}
