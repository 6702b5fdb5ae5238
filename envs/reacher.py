"""Reacher: a two-link torque-driven arm in the plane, asked to take a pose or to touch a small target."""

from __future__ import annotations

import math

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, to_column_major
from .shared.reward_shaping import as_scalar_array, tolerance

_LINK = 0.12  # [m] length of each link
_REACH = 2 * _LINK  # [m] from the shoulder to the fingertip of the stretched arm
_HEIGHT = 0.02  # [m] of the arm's plane above the table
_HALF, _ONE = as_scalar_array(0.5), as_scalar_array(1.0)
_ELBOW_LIMIT = math.radians(160)
_SPEED = as_scalar_array(5.0)  # [rad/s] at which damping eats the full torque: 0.05 N m / 0.01 N m s/rad


class ReacherArm(Robot):
    """The arm: shoulder turns freely, elbow within 160 degrees; 25 control steps a second.

    Observation (8): cosines and sines of both joint angles, joint velocities / 5 rad/s, fingertip / reach.
    Its columns lie each in one piece of memory: what is worked out from them goes through it in a line.
    """

    model = "reacher/reacher.xml"
    substeps = 2  # of 0.02 s
    observation_limit = np.array([1, 1, 1, 1, 10, 10, 1, 1], np.float64)
    mass_groups = {"forearm": ("lower",)}  # noqa: RUF012

    def observation(self) -> np.ndarray:
        """(n, 8)."""
        joints = self.qpos.copy("F")
        seen = np.empty((len(joints), 8), order="F")
        cosine, sine = seen[:, :2], seen[:, 2:4]
        np.cos(joints, out=cosine)
        np.sin(joints, out=sine)
        speed = seen[:, 4:6]
        speed[...] = self.qvel
        speed /= _SPEED
        _tip(cosine, sine, _HALF, out=seen[:, 6:])  # a link is half the reach
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 2): the joint angles whose cosines and sines are observed."""
        return np.arctan2(observation[:, 2:4], observation[:, :2])

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Joint angles as cosines and sines, joint velocities [rad/s], fingertip [m]."""
        return {
            "joint_position_cos": np.cos(self.qpos),
            "joint_position_sin": np.sin(self.qpos),
            "joint_velocity": self.qvel.copy(),
            "fingertip": _REACH * self.observation()[:, 6:],
        }


def fingertip(joints: np.ndarray) -> np.ndarray:
    """Fingertip (..., 2) [m] of joint angles (..., 2) [rad]."""
    return _tip(np.cos(joints), np.sin(joints), as_scalar_array(_LINK), out=np.empty(joints.shape))


def _tip(cosine: np.ndarray, sine: np.ndarray, link: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(..., 2): the fingertip of an arm with links of that length; cosines and sines (..., 2) of its joints."""
    along, across = cosine[..., 0], sine[..., 0]
    bend_cosine, bend_sine = _ONE + cosine[..., 1], sine[..., 1]
    np.subtract(along * bend_cosine, across * bend_sine, out=out[..., 0])
    np.add(across * bend_cosine, along * bend_sine, out=out[..., 1])
    out *= link
    return out


def _anywhere(random: np.random.Generator) -> np.ndarray:
    """Joint angles (2,) [rad], uniform over what the joints allow."""
    return random.uniform([-math.pi, -_ELBOW_LIMIT], [math.pi, _ELBOW_LIMIT])


class Reacher(GoalTask):
    """Take a pose: both joints within 0.1 rad of the goal's, angles compared around the circle.

    Goal (4): cosines and sines of both target angles, drawn over all the joints allow. A random pose is a
    success once in 900; a hand that holds still within 5.7 degrees of the goal keeps it.
    """

    robot = ReacherArm
    achieved_slice = slice(0, 4)
    max_episode_steps = 200  # 8 s
    goal_limit = np.ones(4)

    _TOLERANCE = 0.1  # [rad] each joint
    _FULL = 0.05  # [rad] error of both joints together that earns the full reward
    _MARGIN = 2.0  # [rad] beyond it, where 0.1 is left

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Anywhere, at rest."""
        return _anywhere(random), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(4,) of a pose anywhere."""
        joints = _anywhere(random)
        return np.concatenate([np.cos(joints), np.sin(joints)])

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """1 within 0.05 rad, falling with the distance in joint space."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Both joints are within the tolerance."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, from the same angles."""
        square = joint_error(achieved, desired)
        square *= square
        shoulder, elbow = square[..., 0], square[..., 1]
        reached = np.maximum(shoulder, elbow) <= as_scalar_array(self._TOLERANCE**2)
        return tolerance(np.sqrt(shoulder + elbow), -np.inf, self._FULL, self._MARGIN), reached

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 2): the goal's own joint angles."""
        goal = np.asarray(goal, np.float64)
        return np.arctan2(goal[:, 2:], goal[:, :2])

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """The arm in the goal pose."""
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
    """Signed angles (..., 2) in [-pi, pi] between goals (..., 4), the short way around the circle [rad]."""
    cosine, sine = _halves(achieved)
    wanted_cosine, wanted_sine = _halves(desired)
    across = wanted_sine * cosine
    across -= wanted_cosine * sine
    along = wanted_cosine * cosine
    along += wanted_sine * sine
    return np.arctan2(across, along)


def _halves(goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines (..., 2) of goals (..., 4)."""
    goal = to_column_major(goal)
    return goal[..., :2], goal[..., 2:]


class ReacherHard(GoalTask):
    """Touch a small target: the fingertip within 15 mm of it, in any pose.

    Goal (2): the target in units of the arm's reach, drawn evenly over the ring the fingertip can get to.
    """

    robot = ReacherArm
    achieved_slice = slice(6, 8)
    max_episode_steps = 200  # 8 s
    goal_limit = np.ones(2)

    _TOLERANCE = 0.015  # [m]
    _MARGIN = 0.2  # [m]
    _RING = (0.05, 0.22)  # [m] from the shoulder; nearer the elbow's limit forbids, farther the arm's length

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Anywhere, at rest."""
        return _anywhere(random), np.zeros(2)

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(2,) on the ring, every square millimetre as likely."""
        inner, outer = self._RING
        radius = math.sqrt(random.uniform(inner**2, outer**2))
        angle = random.uniform(-math.pi, math.pi)
        return np.array([radius * math.cos(angle), radius * math.sin(angle)]) / _REACH

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """1 at the target, falling with the fingertip's distance from it."""
        return self.reward_and_success(achieved, desired)[0]

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """The fingertip is at the target."""
        return self.reward_and_success(achieved, desired)[1]

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, from the same distance."""
        distance = _distance(achieved, desired)
        reward = tolerance(distance, -np.inf, self._TOLERANCE / 2, self._MARGIN)
        return reward, distance <= as_scalar_array(self._TOLERANCE)

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 2): the pose with the elbow bent to the left."""
        goal = np.asarray(goal, np.float64) * _REACH  # (m, 2) [m]
        square = goal[:, 0] ** 2 + goal[:, 1] ** 2
        elbow = np.arccos(np.clip(square / (2 * _LINK**2) - 1, -1, 1))
        elbow = np.minimum(elbow, _ELBOW_LIMIT)
        return np.stack([np.arctan2(goal[:, 1], goal[:, 0]) - elbow / 2, elbow], axis=1)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """A ball at the target."""
        position = np.append(np.asarray(goal, np.float64) * _REACH, _HEIGHT)
        return [Marker("sphere", position, (self._TOLERANCE,))]


def _distance(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """(...,) [m] between fingertip goals (..., 2)."""
    between = to_column_major(achieved) - to_column_major(desired)
    between *= as_scalar_array(_REACH)
    between *= between
    return np.sqrt(between[..., 0] + between[..., 1])


TASKS = {"Reacher": Reacher, "ReacherHard": ReacherHard}
