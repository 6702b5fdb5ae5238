"""Arm: seven joints and a parallel gripper beside a tray with a cube, asked to reach, to push and to lift."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from .engine.task import GoalTask, Marker, Pose, Robot, Task
from .shared.reward_shaping import tolerance
from .shared.rotations import box_gap, dot, lowest_corner, quaternion_of, rotation_6d

_UNIT = 0.3  # [m] of observed places, counted from
_MIDDLE = np.array([0.5, 0.0, 0.0])  # [m] the middle of the tray
_TRAY = (0.22, 0.3)  # [m] from there to the rims, along x and along y
_CUBE = 0.025  # [m] half a side of the cube
_OPEN = 0.04  # [m] travel of each finger
_TURN = 1.0  # [rad/s] about the joints' full speed
_CLOSE = 0.05  # [m/s] of a finger
_MOVE, _SPIN = 0.5, 5.0  # [m/s], [rad/s] of a cube pushed about
_TOUCH = 1e-3  # [m] between surfaces within which they count as touching
_PAD = (0.01, 0.014)  # [m] half width and half length of a finger's pad

_SHOULDER = 0.333  # [m] above the table
_UPPER, _FORE, _ELBOW = 0.316, 0.384, 0.0825  # [m] upper arm, forearm, and how far the elbow stands out
_WRIST, _HAND = 0.088, 0.107 + 0.1034  # [m] from the wrist outwards, from there to between the fingertips
_JOINTS, _FINGERS, _CUBE_AT, _CUBE_TURN = slice(0, 7), slice(7, 9), slice(9, 12), slice(12, 16)  # of qpos


class ArmAndCube(Robot):
    """The arm, whose joints are driven at wished speeds, and the cube, which is free; 25 control steps a second.

    An action is the speed of each joint, 1 being about half of what the machine can do, and the gripper's width
    from shut (-1) to 80 mm (1). With no action the arm stands still and the gripper holds the cube.
    Observation (36): joint angles / pi, fingers / 40 mm, gripper and cube from the tray's middle / 0.3 m, the x
    and y axes of the cube, joint speeds / 1 rad/s, fingers / 50 mm/s, the cube's / 0.5 m/s and / 5 rad/s.
    """

    model = "arm/arm.xml"
    substeps = 8  # of 0.005 s
    forward_stage = "position"
    mass_groups = {"cube": ("cube",)}  # noqa: RUF012
    observation_limit = np.concatenate(
        [np.full(7, 1.3), np.full(2, 1.5), np.full(6, 5.0), np.ones(6), np.full(15, 10.0)]
    )

    def __init__(self, batch: Any) -> None:
        super().__init__(batch)
        self._sites = batch.bind("site_xpos")  # (n, 3, 3) live: grip, left pad, right pad
        self._frames = batch.bind("site_xmat")  # (n, 3, 9) live

    def grip(self) -> np.ndarray:
        """(n, 3) [m]: the point between the fingertips."""
        return self._sites[:, 0]

    def cube(self) -> np.ndarray:
        """(n, 3) [m]: the middle of the cube."""
        return self.qpos[:, _CUBE_AT]

    def observation(self) -> np.ndarray:
        """(n, 36)."""
        pose, speed = self.qpos, self.qvel
        return np.concatenate(
            [
                pose[:, _JOINTS] / math.pi,
                pose[:, _FINGERS] / _OPEN,
                (self.grip() - _MIDDLE) / _UNIT,
                (self.cube() - _MIDDLE) / _UNIT,
                rotation_6d(pose[:, _CUBE_TURN]),
                speed[:, :7] / _TURN,
                speed[:, 7:9] / _CLOSE,
                speed[:, 9:12] / _MOVE,
                speed[:, 12:] / _SPIN,
            ],
            axis=1,
        )

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 16): the joints, the fingers and the cube as they are observed."""
        joints, fingers = observation[:, :7] * math.pi, observation[:, 7:9] * _OPEN
        cube = observation[:, 12:15] * _UNIT + _MIDDLE
        return np.concatenate([joints, fingers, cube, quaternion_of(observation[:, 15:21])], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Angles, places [m], velocities [m/s, rad/s], the cube's axes, and who touches whom (0, 1)."""
        joints, cube, axes = self.qpos[:, _JOINTS], self.cube(), rotation_6d(self.qpos[:, _CUBE_TURN])
        standing = lowest_corner(cube, axes, _CUBE) <= _TOUCH
        return {
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, :7].copy(),
            "finger_position": self.qpos[:, _FINGERS].copy(),
            "finger_velocity": self.qvel[:, 7:9].copy(),
            "gripper_position": self.grip().copy(),
            "cube_position": cube.copy(),
            "cube_axes": axes,
            "cube_velocity": self.qvel[:, 9:12].copy(),
            "cube_angular_velocity": self.qvel[:, 12:].copy(),
            "finger_contact": (self._pad_gap(cube, axes) <= _TOUCH).astype(np.float64),
            "table_contact": standing.astype(np.float64)[:, None],
        }

    def _pad_gap(self, cube: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """(n, 2) [m] from the inner side of each finger's pad, at its middle and corners, to the cube."""
        middle, frame = self._sites[:, 1:], self._frames[:, 1:]
        wide, long = frame[..., 0::3] * _PAD[0], frame[..., 2::3] * _PAD[1]
        points = [middle, *(middle + i * wide + j * long for i in (-1, 1) for j in (-1, 1))]
        gaps = [box_gap(point, cube[:, None], axes[:, None], _CUBE) for point in points]
        return np.minimum.reduce(gaps)


def inverse_kinematics(place: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(..., 7) [rad]: joints that bring the grip to places (..., 3) [m], pointing down.

    The fingers then open at `yaw` [rad] (...,) from the y axis, or half a turn from that, which is as good.
    """
    x, y, z = (place[..., k] for k in range(3))
    pan = np.arctan2(y, x)
    out, up = np.sqrt(x * x + y * y) - _WRIST, z + _HAND - _SHOULDER  # of the wrist, from the shoulder
    upper, fore = math.hypot(_UPPER, _ELBOW), math.hypot(_FORE, _ELBOW)
    slack, other_slack = math.atan2(_ELBOW, _UPPER), math.atan2(_ELBOW, _FORE)
    cosine = (out * out + up * up - upper**2 - fore**2) / (2 * upper * fore)
    bend = np.arccos(np.minimum(np.maximum(cosine, -1.0), 1.0))
    tilt = np.arctan2(out, up) - np.arctan2(fore * np.sin(bend), upper + fore * np.cos(bend)) - slack
    elbow = -(bend + slack + other_slack)
    turn = pan - yaw
    turn = turn - math.pi * np.round(turn / math.pi)
    still = np.zeros_like(pan)
    return np.stack([pan, tilt, still, elbow, still, tilt - elbow, turn + math.pi / 4], axis=-1)


def _posed(joints: np.ndarray, finger: float, cube: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(..., 16): joints (..., 7), both fingers so far out [m], the cube upright at (..., 3), turned by yaw (...,)."""
    turn = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=-1)
    fingers = np.full((*yaw.shape, 2), finger)
    return np.concatenate([joints, fingers, cube, turn], axis=-1)


def _on_tray(random: np.random.Generator, margin: float) -> np.ndarray:
    """(3,) [m]: a place of the cube, so far from the rims at least."""
    x, y = (random.uniform(margin - half, half - margin) for half in _TRAY)
    return _MIDDLE + [x, y, _CUBE]


def _start(random: np.random.Generator) -> Pose:
    """The gripper somewhere above the tray, pointing about down, half open; the cube anywhere on it."""
    grip = random.uniform([0.36, -0.2, 0.22], [0.6, 0.2, 0.42])
    joints = inverse_kinematics(grip, np.array(random.uniform(-0.5, 0.5))) + random.uniform(-0.05, 0.05, 7)
    cube = _on_tray(random, 0.06)
    yaw = np.array(random.uniform(-math.pi, math.pi))
    return _posed(joints, _OPEN / 2, cube, yaw), np.zeros(15)


class _PlaceTask(GoalTask):
    """Something brought to a place. A goal is that place from the tray's middle / 0.3 m, in two or three dimensions."""

    robot = ArmAndCube
    _TOLERANCE: ClassVar[float]  # [m]
    _MARGIN: ClassVar[float]  # [m] beyond the full reward, where 0.1 is left
    _FULL = 0.01  # [m] distance that earns the full reward

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """The gripper anywhere above the tray, the cube anywhere on it, at rest."""
        return _start(random)

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """1 at the place, falling with the distance."""
        return tolerance(goal_distance(achieved, desired), upper=self._FULL, margin=self._MARGIN)

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """It is at the place."""
        return goal_distance(achieved, desired) <= self._TOLERANCE


class ArmReach(_PlaceTask):
    """Bring the point between the fingertips within 25 mm of a place above the tray.

    Goal (3): the place from the tray's middle / 0.3 m.
    """

    max_episode_steps = 150  # 6 s
    goal_limit = np.full(3, 5.0)

    _TOLERANCE = 0.025
    _MARGIN = 0.3
    _REACH = ((0.32, -0.3, 0.1), (0.64, 0.3, 0.45))  # [m] corners of the room in which goals are

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(3,) anywhere in the room above the tray."""
        return (random.uniform(*self._REACH) - _MIDDLE) / _UNIT

    def achieved(self, robot: Any) -> np.ndarray:
        """(n, 3)."""
        return (robot.grip() - _MIDDLE) / _UNIT

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 16): pointing down, the cube out of the way in a corner of the tray."""
        place = self.goal_position(goal)
        yaw = np.zeros(len(place))
        corner = np.tile(_MIDDLE + [-0.16, 0.24, _CUBE], (len(place), 1))
        return _posed(inverse_kinematics(place, yaw), _OPEN / 2, corner, yaw)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """A ball at the place."""
        return [Marker("sphere", self.goal_position(goal), (self._TOLERANCE,))]

    @staticmethod
    def goal_position(goal: np.ndarray) -> np.ndarray:
        """(..., 3) [m]: where goals (..., 3) want the gripper."""
        return np.asarray(goal, np.float64) * _UNIT + _MIDDLE


class ArmPush(_PlaceTask):
    """Bring the cube over a place on the tray, its middle within 30 mm, by pushing or otherwise.

    Goal (2): the place from the tray's middle / 0.3 m.
    """

    max_episode_steps = 250  # 10 s
    goal_limit = np.full(2, 5.0)

    _TOLERANCE = 0.03
    _MARGIN = 0.2
    _EDGE = 0.08  # [m] that starts and goals keep from the rims: the gripper fits behind the cube

    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """(2,) anywhere on the tray but near its rims."""
        return (_on_tray(random, self._EDGE) - _MIDDLE)[:2] / _UNIT

    def achieved(self, robot: Any) -> np.ndarray:
        """(n, 2)."""
        return (robot.cube()[:, :2] - _MIDDLE[:2]) / _UNIT

    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, 16): the cube square in its place, the gripper waiting 0.3 m above the tray's middle."""
        cube = self.goal_position(goal)
        yaw = np.zeros(len(cube))
        above = np.tile(_MIDDLE + [-0.05, 0.0, 0.3], (len(cube), 1))
        return _posed(inverse_kinematics(above, yaw), _OPEN / 2, cube, yaw)

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """A thin tile under the place."""
        thin = 0.0015  # [m] it lies on the tray
        place = self.goal_position(goal) * [1.0, 1.0, 0.0] + [0.0, 0.0, thin]
        return [Marker("box", place, (_CUBE + 0.01, _CUBE + 0.01, thin))]

    @staticmethod
    def goal_position(goal: np.ndarray) -> np.ndarray:
        """(..., 3) [m]: where goals (..., 2) want the middle of the cube."""
        flat = np.asarray(goal, np.float64) * _UNIT + _MIDDLE[:2]
        return np.concatenate([flat, np.full_like(flat[..., :1], _CUBE)], axis=-1)


class ArmLift(Task):
    """Grasp the cube and hold it up, 0.2 m above where it lay, wherever that is."""

    robot = ArmAndCube
    max_episode_steps = 250  # 10 s

    _HEIGHT = 0.2  # [m] under the lifted cube
    _FULL = 0.02  # [m] from grip to cube that earns the full share for reaching
    _MARGIN = 0.2  # [m] beyond it, where 0.1 is left

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """The gripper above the tray, the cube anywhere on it, at rest."""
        return _start(random)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """A fifth for having the cube between the fingers, the rest for lifting it, evenly with its height."""
        apart = robot.grip() - robot.cube()
        near = tolerance(np.sqrt(dot(apart, apart)), upper=self._FULL, margin=self._MARGIN)
        height = np.minimum(np.maximum((robot.cube()[:, 2] - _CUBE) / self._HEIGHT, 0.0), 1.0)
        return near * (1 + 4 * height) / 5

    def success(self, robot: Any) -> np.ndarray:
        """The cube is up, and between the fingers."""
        apart = robot.grip() - robot.cube()
        held = dot(apart, apart) <= (2 * _CUBE) ** 2
        return held & (robot.cube()[:, 2] - _CUBE >= 0.95 * self._HEIGHT)


def goal_distance(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """(...,) [m] between places (..., 2 or 3) in goal units."""
    apart = np.asarray(achieved, np.float64) - np.asarray(desired, np.float64)
    square = apart[..., 0] ** 2 + apart[..., 1] ** 2
    if apart.shape[-1] == 3:
        square = square + apart[..., 2] ** 2
    return np.sqrt(square) * _UNIT


TASKS = {"ArmReach": ArmReach, "ArmPush": ArmPush, "ArmLift": ArmLift}
