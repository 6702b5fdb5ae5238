"""Robots with legs and a free torso in 3-D (quadruped, humanoid): kinematic tree, observation and initial states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from ..engine.task import Pose, Task
from .rotations import (
    Quaternion,
    Vector,
    quaternion_from_roll_pitch,
    rotate_about_axis,
    rotate_inverse,
    split_wxyz,
    split_xyz,
    up_direction,
)
from .standing import StandingRobot

_SPEED = 3.0  # [m/s] unit of observed velocities, as in a fast run
_SPIN = 10.0  # [rad/s] unit of observed angular velocities
_ROOT = 7  # coordinates of the torso: x, y, z and a quaternion


@dataclass(frozen=True)
class SpatialLink:
    """A link on a hinge. Link k is moved by joint k - 1; link 0 is the torso."""

    parent: int
    hinge: tuple[float, float, float]  # [m] in the parent's frame
    axis: str  # "x", "y" or "z" of the parent's frame; "-" reverses the direction


@dataclass(frozen=True)
class SpatialContactPoint:
    """A sphere or a corner of a link that may touch the floor."""

    link: int
    position: tuple[float, float, float]  # [m] in the link's frame
    radius: float = 0.0  # [m]


class LeggedRobot(StandingRobot):
    """A free torso with a tree of J hinged links, each joint driven by a position servo.

    Coordinates: torso position [m] and quaternion, then the joint angles [rad].

    Observation (10 + 2 J), all but the height in the torso's frame:
        torso height / standing height (1), up direction (3), joint angles [rad] (J), torso velocity / 3 m/s (3),
        torso angular velocity / 10 rad/s (3), joint velocities / 10 rad/s (J).
        The position on the floor and the heading are not observed.
    """

    links: ClassVar[tuple[SpatialLink, ...]]
    contact_points: ClassVar[tuple[SpatialContactPoint, ...]]
    joint_limits: ClassVar[np.ndarray]  # (J, 2) [rad]
    standing_height: ClassVar[float]  # [m] height of the torso when the robot stands

    def torso_height(self) -> np.ndarray:
        """Return (n,) [m] the height of the torso's frame above the floor."""
        return self.qpos[:, 2]

    def upright(self) -> np.ndarray:
        """Return (n,) the cosine of the torso's tilt: 1 upright, -1 upside down."""
        return 1.0 - 2.0 * (self.qpos[:, 4] ** 2 + self.qpos[:, 5] ** 2)

    def torso_velocity(self) -> Vector:
        """Return the torso's velocity [m/s] forward, to the left and up, in its own frame."""
        return rotate_inverse(_torso_quaternion(self.qpos), split_xyz(self.qvel[:, :3]))

    def speed(self) -> np.ndarray:
        """Return (n,) [m/s] the speed of the torso in the direction it faces."""
        return self.torso_velocity()[0]

    def observation(self) -> np.ndarray:
        """Return the observation (n, 10 + 2 J)."""
        height, joints = self.qpos[:, 2:3] / self.standing_height, self.qpos[:, _ROOT:]
        up = np.stack(up_direction(_torso_quaternion(self.qpos)), axis=1)
        velocity = np.stack(self.torso_velocity(), axis=1) / _SPEED
        return np.concatenate([height, up, joints, velocity, self.qvel[:, 3:] / _SPIN], axis=1)

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 7 + J) above the origin with heading x, because position and heading are not observed."""
        up_x, up_y, up_z = split_xyz(observation[:, 1:4])
        roll, pitch = np.arctan2(up_y, up_z), np.arctan2(-up_x, np.sqrt(up_y * up_y + up_z * up_z))
        position = [np.zeros_like(up_z), np.zeros_like(up_z), observation[:, 0] * cls.standing_height]
        joints = observation[:, 4 : 4 + len(cls.joint_limits)]
        torso = np.stack([*position, *quaternion_from_roll_pitch(roll, pitch)], axis=1)
        return np.concatenate([torso, joints], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return torso height [m], up direction, joint angles, velocities [m/s, rad/s] and foot contacts (0, 1)."""
        joints = self.qpos[:, _ROOT:]
        return {
            "torso_height": self.qpos[:, 2:3].copy(),
            "torso_up": np.stack(up_direction(_torso_quaternion(self.qpos)), axis=1),
            "torso_velocity": np.stack(self.torso_velocity(), axis=1),
            "torso_angular_velocity": self.qvel[:, 3:6].copy(),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, 6:].copy(),
            "foot_contact": self.foot_contacts(self.qpos),
        }

    @classmethod
    def floor_clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """Return (m, contact points) [m] between each contact point and the floor, for poses (m, 7 + J).

        Heights depend only on the up direction in each link's frame, so full rotations are not computed.
        """
        up, height = [up_direction(_torso_quaternion(qpos))], [qpos[:, 2]]  # of each link
        for joint, link in enumerate(cls.links[1:], start=_ROOT):
            parent_up = up[link.parent]
            height.append(height[link.parent] + _relative_height(parent_up, link.hinge))
            up.append(rotate_about_axis(parent_up, link.axis, -qpos[:, joint]))
        return np.stack(
            [
                height[point.link] + _relative_height(up[point.link], point.position) - point.radius
                for point in cls.contact_points
            ],
            axis=1,
        )

    @classmethod
    def pose_on_floor(cls, quaternion: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Return the pose (7 + J,) in which the lowest contact point just touches the floor."""
        qpos = np.concatenate([np.zeros(3), quaternion, joints])
        qpos[2] = -cls.floor_clearance(qpos[None]).min()
        return qpos


def _torso_quaternion(qpos: np.ndarray) -> Quaternion:
    return split_wxyz(qpos[:, 3:7])


def _relative_height(up: Vector, position: tuple[float, float, float]) -> np.ndarray:
    """Return the height [m] of a position in a frame above the frame's origin, given up in that frame."""
    return up[0] * position[0] + up[1] * position[1] + up[2] * position[2]


def legged_observation_limit(joints: int) -> np.ndarray:
    """Return the observation limit (10 + 2 J,) of a legged robot with J joints."""
    return np.concatenate([[10.0, 1.0, 1.0, 1.0], np.full(joints, 5.0), np.full(6 + joints, 10.0)])


LeggedRobotT = TypeVar("LeggedRobotT", bound=LeggedRobot)


class LeggedTask(Task[LeggedRobotT]):
    """A task on the floor, with two distributions of initial states."""

    def _sample_upright_state(
        self, random: np.random.Generator, joints: np.ndarray, tilt: float, speed: float
    ) -> Pose:
        """Return a state on the feet with heading x and joint angles (J,).

        Args:
            random: Source of randomness.
            joints: Joint angles [rad], clipped to the limits.
            tilt: Standard deviation of roll and pitch [rad].
            speed: Standard deviation of all velocities [m/s, rad/s].
        """
        low, high = self.robot.joint_limits.T
        x, y = random.normal(0.0, tilt / 2, 2)
        quaternion = np.array([1.0, x, y, 0.0]) / np.sqrt(1.0 + x * x + y * y)
        qpos = self.robot.pose_on_floor(quaternion, np.minimum(np.maximum(joints, low), high))
        return qpos, random.normal(0.0, speed, 6 + len(joints))

    def _tilted_state(self, roll: float, pitch: float, joints: np.ndarray) -> Pose:
        """Return a state at rest with this roll, then pitch [rad], and one contact point on the floor."""
        quaternion = quaternion_from_roll_pitch(np.array([roll]), np.array([pitch]))[:, 0]
        return self.robot.pose_on_floor(quaternion, joints), np.zeros(6 + len(joints))
