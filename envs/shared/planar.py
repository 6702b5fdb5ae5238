"""Robots in the vertical plane (cheetah, hopper, walker): kinematic tree, observation and initial states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from ..engine.task import Pose, Task, cached_per_step
from .standing import FloorContactRobot

if TYPE_CHECKING:
    from mujoco.batch import Batch

_SPEED = 5.0  # [m/s] unit of observed velocities, as in a fast run
_SPIN = 10.0  # [rad/s] unit of observed angular velocities
_ROOT = 3  # coordinates of the torso: x, z, pitch


@dataclass(frozen=True)
class PlanarLink:
    """A link on a hinge. Link k is moved by joint k - 1; link 0 is the torso."""

    parent: int
    hinge: tuple[float, float]  # [m] x and z in the parent's frame


@dataclass(frozen=True)
class PlanarContactPoint:
    """A sphere at the end of a link that may touch the floor."""

    link: int
    x: float  # [m] in the link's frame
    z: float  # [m]
    radius: float  # [m]


class PlanarRobot(FloorContactRobot):
    """A torso that slides and pitches in the plane, with a tree of J hinged links; 25 control steps per second.

    Coordinates: torso x [m], height z [m] and pitch [rad] (nose down positive), then the joint angles [rad] (link
    forward positive).

    Observation (6 + 2 J):
        torso height / standing height (1), cosine and sine of the pitch (2), joint angles [rad] (J),
        torso velocity / 5 m/s (2), pitch velocity / 10 rad/s (1), joint velocities / 10 rad/s (J).
        The position along the track is not observed.
    """

    links: ClassVar[tuple[PlanarLink, ...]]
    contact_points: ClassVar[tuple[PlanarContactPoint, ...]]
    joint_limits: ClassVar[np.ndarray]  # (J, 2) [rad]
    standing_height: ClassVar[float]  # [m] height of the torso when the robot stands

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        joints = _num_joints(type(self))
        num_coordinates = 2 * (_ROOT + joints)  # positions and velocities
        self._batch_state = batch.state  # (n, P) live view; column 0 is the time
        # all columns but x; the pitch twice, for cosine and sine
        self._columns = np.r_[2, 3, 3, 4 : 1 + num_coordinates]
        scale = np.concatenate(
            [[self.standing_height, 1.0, 1.0], np.ones(joints), [_SPEED, _SPEED], np.full(1 + joints, _SPIN)]
        )
        self._scale = np.tile(scale, (len(self.qpos), 1))  # (n, D): dividing by a full array is faster

    def torso_height(self) -> np.ndarray:
        """Return (n,) [m] the height of the torso above the floor."""
        return self.qpos[:, 1]

    @cached_per_step
    def upright(self) -> np.ndarray:
        """Return (n,) the cosine of the pitch: 1 upright, -1 upside down."""
        return np.cos(self.qpos[:, 2])

    def speed(self) -> np.ndarray:
        """Return (n,) [m/s] the forward speed of the torso."""
        return self.qvel[:, 0]

    def pitch_velocity(self) -> np.ndarray:
        """Return (n,) [rad/s] the pitch velocity of the torso; a forward flip is positive."""
        return self.qvel[:, 2]

    def observation(self) -> np.ndarray:
        """Return the observation (n, 6 + 2 J)."""
        observation = self._batch_state.take(self._columns, axis=1)
        observation /= self._scale
        sine = observation[:, 2]
        observation[:, 1] = self.upright()
        np.sin(sine, out=sine)
        return observation

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 3 + J) at x = 0, because the position along the track is not observed."""
        height = observation[:, :1] * cls.standing_height
        pitch = np.arctan2(observation[:, 2:3], observation[:, 1:2])
        joints = observation[:, 3 : 3 + _num_joints(cls)]
        return np.concatenate([np.zeros_like(height), height, pitch, joints], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return torso height [m] and pitch, joint angles, velocities [m/s, rad/s] and foot contacts (0, 1)."""
        pitch, joints = self.qpos[:, 2:3], self.qpos[:, _ROOT:]
        return {
            "torso_height": self.qpos[:, 1:2].copy(),
            "torso_pitch_cos": np.cos(pitch),
            "torso_pitch_sin": np.sin(pitch),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "torso_velocity": self.qvel[:, :2].copy(),
            "pitch_velocity": self.qvel[:, 2:3].copy(),
            "joint_velocity": self.qvel[:, _ROOT:].copy(),
            "foot_contact": self.foot_contacts(self.qpos),
        }

    @classmethod
    def floor_clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """Return (m, contact points) [m] between each contact point and the floor, for poses (m, 3 + J)."""
        pitch, height = [qpos[:, 2]], [qpos[:, 1]]  # of each link
        for joint, link in enumerate(cls.links[1:], start=_ROOT):
            parent_pitch = pitch[link.parent]
            height.append(height[link.parent] + _relative_height(parent_pitch, *link.hinge))
            pitch.append(parent_pitch - qpos[:, joint])
        return np.stack(
            [
                height[point.link] + _relative_height(pitch[point.link], point.x, point.z) - point.radius
                for point in cls.contact_points
            ],
            axis=1,
        )

    @classmethod
    def pose_on_floor(cls, pitch: float, joints: np.ndarray) -> np.ndarray:
        """Return the pose (3 + J,) in which the lowest contact point just touches the floor."""
        qpos = np.concatenate([[0.0, 0.0, pitch], joints])
        qpos[1] = -cls.floor_clearance(qpos[None]).min()
        return qpos


def _relative_height(pitch: np.ndarray, x: float, z: float) -> np.ndarray:
    """Return the height [m] of the point (x, z) of a frame with this pitch above the frame's origin."""
    return z * np.cos(pitch) - x * np.sin(pitch)


def _num_joints(robot: type[PlanarRobot]) -> int:
    return len(robot.links) - 1


def planar_observation_limit(joints: int) -> np.ndarray:
    """Return the observation limit (6 + 2 J,) of a planar robot with J joints."""
    return np.concatenate([[4.0, 1.0, 1.0], np.full(joints, 4.0), np.full(3 + joints, 10.0)])


PlanarRobotT = TypeVar("PlanarRobotT", bound=PlanarRobot)


class PlanarTask(Task[PlanarRobotT]):
    """A task of 10 s on the track. Initial state: standing, nearly at rest."""

    max_episode_steps = 250  # 10 s

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the robot on its feet with small random joint angles and velocities."""
        joints = random.uniform(-0.1, 0.1, _num_joints(self.robot))  # [rad]
        low, high = self.robot.joint_limits.T
        qpos = self.robot.pose_on_floor(
            random.uniform(-0.05, 0.05), np.minimum(np.maximum(joints, low), high)
        )
        return qpos, random.normal(0.0, 0.05, len(qpos))


class PlanarFallenTask(PlanarTask[PlanarRobotT]):
    """A task of 10 s on the track. Initial state: on the floor at any pitch, at rest."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the robot at rest at a random pitch, with random joint angles and one contact point on the floor."""
        joints = random.uniform(*self.robot.joint_limits.T)
        qpos = self.robot.pose_on_floor(random.uniform(-np.pi, np.pi), joints)
        return qpos, np.zeros(len(qpos))
