"""Arm: seven joints and a parallel gripper beside a tray with a cube, after the Franka Emika Panda.

Action (8): joint velocities (7), where 1 is about half of the machine's limit, and gripper opening (1) from closed
(-1) to 80 mm (1). With the zero action the arm stays in place and the gripper holds the cube.
Observation (36): joint angles / pi (7), finger positions / 40 mm (2), gripper and cube position from the tray's
center / 0.3 m (3 + 3), x and y axis of the cube (6), joint velocities / 1 rad/s (7), finger velocities / 50 mm/s (2),
cube velocity / 0.5 m/s (3) and angular velocity / 5 rad/s (3).

| task | goal | reward | success | steps |
| --- | --- | --- | --- | --- |
| ArmReach | (3): gripper position | falls with the distance | within 25 mm | 150 (6 s) |
| ArmPush | (2): cube position | falls with the horizontal distance | within 30 mm | 250 (10 s) |
| ArmLift | none | gripper at the cube (1/5), height up to 0.2 m (4/5) | cube in the gripper at 0.19 m | 250 (10 s) |

Goals are positions from the tray's center / 0.3 m. Episodes do not terminate early.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .engine.arrays import as_array
from .engine.task import GoalTask, Marker, Pose, Robot, Task
from .shared.reward_shaping import tolerance
from .shared.rotations import distance_to_cube, dot, lowest_corner, quaternion_from_6d, rotation_6d

if TYPE_CHECKING:
    from mujoco.batch import Batch

_UNIT = 0.3  # [m] unit of observed positions
_TRAY_CENTER = np.array([0.5, 0.0, 0.0])  # [m] origin of observed positions
_TRAY_HALF = (0.22, 0.3)  # [m] from the center to the rims, along x and y
_CUBE_HALF = 0.025  # [m] half the edge length
_FINGER_TRAVEL = 0.04  # [m] of each finger
_JOINT_SPEED = 1.0  # [rad/s] about the joints' speed at full action
_FINGER_SPEED = 0.05  # [m/s]
_CUBE_SPEED, _CUBE_SPIN = 0.5, 5.0  # [m/s], [rad/s] of a pushed cube
_CONTACT = 1e-3  # [m] distance of surfaces below which they count as in contact
_PAD_HALF = (0.01, 0.014)  # [m] half width and half length of a fingertip pad

_SHOULDER = 0.333  # [m] above the table
_UPPER, _FORE, _ELBOW = 0.316, 0.384, 0.0825  # [m] upper arm, forearm and sideways offset of the elbow
_WRIST = 0.088  # [m] from the wrist outward to the flange axis
_HAND = 0.107 + 0.1034  # [m] from there to the point between the fingertips
# columns of qpos
_JOINTS, _FINGERS = slice(0, 7), slice(7, 9)
_CUBE_POSITION, _CUBE_QUATERNION = slice(9, 12), slice(12, 16)


class ArmRobot(Robot):
    """The arm with velocity servos on its joints, and the free cube; 25 control steps per second."""

    model = "arm/arm.xml"
    substeps = 8  # of 0.005 s
    forward_stage = "position"
    mass_groups = {"cube": ("cube",)}  # noqa: RUF012
    observation_limit = np.concatenate(
        [np.full(7, 1.3), np.full(2, 1.5), np.full(6, 5.0), np.ones(6), np.full(15, 10.0)]
    )

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._sites = batch.bind("site_xpos")  # (n, 3, 3) view: grip, left pad, right pad
        self._frames = batch.bind("site_xmat")  # (n, 3, 9) view

    def gripper_position(self) -> np.ndarray:
        """Return (n, 3) [m] the point between the fingertips."""
        return self._sites[:, 0]

    def cube_position(self) -> np.ndarray:
        """Return (n, 3) [m] the center of the cube."""
        return self.qpos[:, _CUBE_POSITION]

    def observation(self) -> np.ndarray:
        """Return the observation (n, 36)."""
        pose, speed = self.qpos, self.qvel
        return np.concatenate(
            [
                pose[:, _JOINTS] / math.pi,
                pose[:, _FINGERS] / _FINGER_TRAVEL,
                (self.gripper_position() - _TRAY_CENTER) / _UNIT,
                (self.cube_position() - _TRAY_CENTER) / _UNIT,
                rotation_6d(pose[:, _CUBE_QUATERNION]),
                speed[:, :7] / _JOINT_SPEED,
                speed[:, 7:9] / _FINGER_SPEED,
                speed[:, 9:12] / _CUBE_SPEED,
                speed[:, 12:] / _CUBE_SPIN,
            ],
            axis=1,
        )

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 16): joints, fingers and cube."""
        joints, fingers = observation[:, :7] * math.pi, observation[:, 7:9] * _FINGER_TRAVEL
        cube = observation[:, 12:15] * _UNIT + _TRAY_CENTER
        return np.concatenate([joints, fingers, cube, quaternion_from_6d(observation[:, 15:21])], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return joint angles, positions [m], velocities [m/s, rad/s], the cube's axes and contacts (0, 1)."""
        joints, cube = self.qpos[:, _JOINTS], self.cube_position()
        axes = rotation_6d(self.qpos[:, _CUBE_QUATERNION])
        on_table = lowest_corner(cube, axes, _CUBE_HALF) <= _CONTACT
        return {
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, :7].copy(),
            "finger_position": self.qpos[:, _FINGERS].copy(),
            "finger_velocity": self.qvel[:, 7:9].copy(),
            "gripper_position": self.gripper_position().copy(),
            "cube_position": cube.copy(),
            "cube_axes": axes,
            "cube_velocity": self.qvel[:, 9:12].copy(),
            "cube_angular_velocity": self.qvel[:, 12:].copy(),
            "finger_contact": (self._pad_distance(cube, axes) <= _CONTACT).astype(np.float64),
            "table_contact": on_table.astype(np.float64)[:, None],
        }

    def _pad_distance(self, cube: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """Return (n, 2) [m] the distance of each fingertip pad, at its center and corners, from the cube."""
        center, frame = self._sites[:, 1:], self._frames[:, 1:]
        width, length = frame[..., 0::3] * _PAD_HALF[0], frame[..., 2::3] * _PAD_HALF[1]
        points = [center, *(center + i * width + j * length for i in (-1, 1) for j in (-1, 1))]
        distances = [distance_to_cube(point, cube[:, None], axes[:, None], _CUBE_HALF) for point in points]
        return reduce(np.minimum, distances)


def inverse_kinematics(position: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return joint angles (..., 7) [rad] with the gripper at `position` and pointing down.

    Args:
        position: (..., 3) [m].
        yaw: (...,) [rad] direction in which the fingers open, from the y axis and modulo pi.
    """
    x, y, z = (position[..., k] for k in range(3))
    pan = np.arctan2(y, x)
    # [m] of the wrist from the shoulder
    forward, up = np.sqrt(x * x + y * y) - _WRIST, z + _HAND - _SHOULDER
    upper, fore = math.hypot(_UPPER, _ELBOW), math.hypot(_FORE, _ELBOW)
    upper_angle, fore_angle = math.atan2(_ELBOW, _UPPER), math.atan2(_ELBOW, _FORE)
    cosine = (forward * forward + up * up - upper**2 - fore**2) / (2 * upper * fore)
    bend = np.arccos(np.minimum(np.maximum(cosine, -1.0), 1.0))
    tilt = (
        np.arctan2(forward, up) - np.arctan2(fore * np.sin(bend), upper + fore * np.cos(bend)) - upper_angle
    )
    elbow = -(bend + upper_angle + fore_angle)
    wrist = pan - yaw
    wrist = wrist - math.pi * np.round(wrist / math.pi)
    zero = np.zeros_like(pan)
    return np.stack([pan, tilt, zero, elbow, zero, tilt - elbow, wrist + math.pi / 4], axis=-1)


def _make_pose(joints: np.ndarray, finger: float, cube: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return poses (..., 16) of joints (..., 7), a finger position, and a level cube at (..., 3) with yaw (...,)."""
    quaternion = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=-1)
    fingers = np.full((*yaw.shape, 2), finger)
    return np.concatenate([joints, fingers, cube, quaternion], axis=-1)


def _sample_cube_position(random: np.random.Generator, margin: float) -> np.ndarray:
    """Return a cube position (3,) [m] at least `margin` [m] from the rims."""
    x, y = (random.uniform(margin - half, half - margin) for half in _TRAY_HALF)
    return _TRAY_CENTER + [x, y, _CUBE_HALF]


def _sample_state(random: np.random.Generator) -> Pose:
    """Return the half-open gripper above the tray, pointing roughly down, and the cube anywhere on the tray."""
    gripper = random.uniform([0.36, -0.2, 0.22], [0.6, 0.2, 0.42])
    joints = inverse_kinematics(gripper, np.array(random.uniform(-0.5, 0.5))) + random.uniform(-0.05, 0.05, 7)
    cube = _sample_cube_position(random, 0.06)
    yaw = np.array(random.uniform(-math.pi, math.pi))
    return _make_pose(joints, _FINGER_TRAVEL / 2, cube, yaw), np.zeros(15)


class _PositionTask(GoalTask[ArmRobot]):
    """Move the gripper or the cube to a goal position, from the tray's center / 0.3 m, in two or three dimensions."""

    robot = ArmRobot
    _TOLERANCE: ClassVar[float]  # [m] of success
    _MARGIN: ClassVar[float]  # [m] beyond `_FULL_REWARD`, at which the reward is 0.1
    _FULL_REWARD = 0.01  # [m] distance below which the reward is 1

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the gripper above the tray and the cube anywhere on it, at rest."""
        return _sample_state(random)

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) in [0, 1], falling with the distance."""
        return tolerance(goal_distance(achieved, desired), upper=self._FULL_REWARD, margin=self._MARGIN)

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool: the distance is within the tolerance."""
        return goal_distance(achieved, desired) <= self._TOLERANCE


class ArmReach(_PositionTask):
    """Move the point between the fingertips to a goal position above the tray."""

    max_episode_steps = 150  # 6 s
    goal_limit = np.full(3, 5.0)

    _TOLERANCE = 0.025
    _MARGIN = 0.3
    _GOAL_BOX = ((0.32, -0.3, 0.1), (0.64, 0.3, 0.45))  # [m] corners of the box of goals

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (3,) above the tray."""
        return (random.uniform(*self._GOAL_BOX) - _TRAY_CENTER) / _UNIT

    def achieved(self, robot: ArmRobot) -> np.ndarray:
        """Return the gripper position (n, 3) in goal units."""
        return (robot.gripper_position() - _TRAY_CENTER) / _UNIT

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 16) with the gripper at the goal, pointing down, and the cube in a corner of the tray."""
        position = self.goal_position(goal)
        yaw = np.zeros(len(position))
        corner = np.tile(_TRAY_CENTER + [-0.16, 0.24, _CUBE_HALF], (len(position), 1))
        return _make_pose(inverse_kinematics(position, yaw), _FINGER_TRAVEL / 2, corner, yaw)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return a sphere at the goal."""
        return [Marker("sphere", self.goal_position(goal), (self._TOLERANCE,))]

    @staticmethod
    def goal_position(goal: np.ndarray) -> np.ndarray:
        """Return gripper positions (..., 3) [m] of goals (..., 3)."""
        return np.asarray(goal, np.float64) * _UNIT + _TRAY_CENTER


class ArmPush(_PositionTask):
    """Move the cube to a goal position on the tray, by pushing or otherwise; its height does not matter."""

    max_episode_steps = 250  # 10 s
    goal_limit = np.full(2, 5.0)

    _TOLERANCE = 0.03
    _MARGIN = 0.2
    _RIM_MARGIN = 0.08  # [m] of goals from the rims, so that the gripper fits behind the cube

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return a goal (2,) on the tray, away from its rims."""
        return (_sample_cube_position(random, self._RIM_MARGIN) - _TRAY_CENTER)[:2] / _UNIT

    def achieved(self, robot: ArmRobot) -> np.ndarray:
        """Return the cube position (n, 2) in goal units."""
        return (robot.cube_position()[:, :2] - _TRAY_CENTER[:2]) / _UNIT

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses (m, 16) with the cube at the goal and the gripper 0.3 m above the tray's center."""
        cube = self.goal_position(goal)
        yaw = np.zeros(len(cube))
        above = np.tile(_TRAY_CENTER + [-0.05, 0.0, 0.3], (len(cube), 1))
        return _make_pose(inverse_kinematics(above, yaw), _FINGER_TRAVEL / 2, cube, yaw)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return a thin tile under the goal."""
        thickness = 0.0015  # [m] half; the marker lies on the tray
        position = self.goal_position(goal) * [1.0, 1.0, 0.0] + [0.0, 0.0, thickness]
        return [Marker("box", position, (_CUBE_HALF + 0.01, _CUBE_HALF + 0.01, thickness))]

    @staticmethod
    def goal_position(goal: np.ndarray) -> np.ndarray:
        """Return cube positions (..., 3) [m] of goals (..., 2), on the tray."""
        horizontal = np.asarray(goal, np.float64) * _UNIT + _TRAY_CENTER[:2]
        return np.concatenate([horizontal, np.full_like(horizontal[..., :1], _CUBE_HALF)], axis=-1)


class ArmLift(Task[ArmRobot]):
    """Grasp the cube and lift it by 0.2 m, at any position."""

    robot = ArmRobot
    max_episode_steps = 250  # 10 s

    _HEIGHT = 0.2  # [m] of the lifted cube above the tray
    _FULL_REWARD = 0.02  # [m] distance of gripper and cube below which the reach factor is 1
    _MARGIN = 0.2  # [m] beyond `_FULL_REWARD`, at which the reach factor is 0.1

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the gripper above the tray and the cube anywhere on it, at rest."""
        return _sample_state(random)

    def reward(self, robot: ArmRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,): one fifth for the gripper at the cube, the rest linear in the height of the cube."""
        offset = robot.gripper_position() - robot.cube_position()
        near = tolerance(np.sqrt(dot(offset, offset)), upper=self._FULL_REWARD, margin=self._MARGIN)
        height = np.minimum(np.maximum((robot.cube_position()[:, 2] - _CUBE_HALF) / self._HEIGHT, 0.0), 1.0)
        return near * (1 + 4 * height) / 5

    def success(self, robot: ArmRobot) -> np.ndarray:
        """Return (n,) bool: the cube is at 0.19 m or above, within 50 mm of the gripper."""
        offset = robot.gripper_position() - robot.cube_position()
        in_gripper = dot(offset, offset) <= (2 * _CUBE_HALF) ** 2
        return in_gripper & (robot.cube_position()[:, 2] - _CUBE_HALF >= 0.95 * self._HEIGHT)


def goal_distance(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """Return the distance (...,) [m] between goals (..., 2 or 3)."""
    offset = as_array(achieved, np.float64) - as_array(desired, np.float64)
    square = offset[..., 0] ** 2 + offset[..., 1] ** 2
    if offset.shape[-1] == 3:
        square = square + offset[..., 2] ** 2
    return np.sqrt(square) * _UNIT


TASKS = {"ArmReach": ArmReach, "ArmPush": ArmPush, "ArmLift": ArmLift}
