"""What all bodies on legs in space share: their limbs, what they sense, how they stand on the floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..engine.task import Pose, Task
from .floor_contact import FloorContactRobot
from .reward_shaping import tolerance
from .rotations import Vector, columns, rotate_about_axis, rotate_inverse

_SPEED = 3.0  # [m/s] and
_SPIN = 10.0  # [rad/s]: speeds of a vigorous run, to bring velocities to unit scale
_FREE = 7  # the torso's own coordinates: x, y, z and a quaternion


@dataclass(frozen=True)
class Limb:
    """A rigid part that turns about a hinge; limb k is moved by joint k - 1, limb 0 is the torso."""

    parent: int
    hinge: tuple[float, float, float]  # [m] in the parent's frame
    axis: str  # "x", "y" or "z" of the parent's frame, with "-" for turning the other way round


@dataclass(frozen=True)
class Tip:
    """A round or pointed end of a limb: where the body may meet the floor."""

    limb: int
    place: tuple[float, float, float]  # [m] in the limb's frame
    radius: float = 0.0  # [m]


class LeggedRobot(FloorContactRobot):
    """A torso that is free in space, with a tree of limbs on hinges, each joint held by a servo.

    Coordinates: torso position [m] and quaternion, then the joints [rad]. Observation (10 + 2 J), all but the
    height in the torso's own frame: height / standing height, the direction of up (3), joint angles [rad],
    torso velocity / 3 m/s (3), torso spin / 10 rad/s (3), joint velocities / 10 rad/s. Where it is and which way
    it faces is not sensed.
    """

    limbs: ClassVar[tuple[Limb, ...]]
    tips: ClassVar[tuple[Tip, ...]]
    limits: ClassVar[np.ndarray]  # (J, 2) [rad] what each joint allows
    stature: ClassVar[float]  # [m] height of the torso when it stands

    def torso_height(self) -> np.ndarray:
        """(n,) [m] of the torso's frame above the floor."""
        return self.qpos[:, 2]

    def torso_upright(self) -> np.ndarray:
        """(n,) cosine of the angle between the torso and up: 1 as it stands, -1 upside down."""
        return 1.0 - 2.0 * (self.qpos[:, 4] ** 2 + self.qpos[:, 5] ** 2)

    def torso_velocity(self) -> Vector:
        """[m/s] forward, to the left and up, as the torso sees it."""
        return rotate_inverse(quaternion(self.qpos), columns(self.qvel[:, :3]))

    def speed(self) -> np.ndarray:
        """(n,) [m/s] of the torso, the way it faces."""
        return self.torso_velocity()[0]

    def observation(self) -> np.ndarray:
        """(n, 10 + 2 J)."""
        height, joints = self.qpos[:, 2:3] / self.stature, self.qpos[:, _FREE:]
        up = np.stack(up_of(quaternion(self.qpos)), axis=1)
        velocity = np.stack(self.torso_velocity(), axis=1) / _SPEED
        return np.concatenate([height, up, joints, velocity, self.qvel[:, 3:] / _SPIN], axis=1)

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 7 + J): above the origin and facing x, since no observation tells where it is."""
        across, aside, up = columns(observation[:, 1:4])
        turn = turned(np.arctan2(aside, up), np.arctan2(-across, np.sqrt(aside * aside + up * up)))
        place = [np.zeros_like(up), np.zeros_like(up), observation[:, 0] * cls.stature]
        joints = observation[:, 4 : 4 + len(cls.limits)]
        return np.concatenate([np.stack([*place, *turn], axis=1), joints], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Torso height [m], up and velocities in its frame, joints, their velocities, which feet touch (0, 1)."""
        joints = self.qpos[:, _FREE:]
        return {
            "torso_height": self.qpos[:, 2:3].copy(),
            "torso_up": np.stack(up_of(quaternion(self.qpos)), axis=1),
            "torso_velocity": np.stack(self.torso_velocity(), axis=1),
            "torso_angular_velocity": self.qvel[:, 3:6].copy(),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, 6:].copy(),
            "foot_contact": self.contacts(self.qpos),
        }

    @classmethod
    def clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """(m, tips) [m] between the underside of every tip and the floor, in poses (m, 7 + J).

        Heights need no more than the direction of up in each limb's frame, which every joint turns a little.
        """
        up, height = [up_of(quaternion(qpos))], [qpos[:, 2]]
        for joint, limb in enumerate(cls.limbs[1:], start=_FREE):
            above = up[limb.parent]
            height.append(height[limb.parent] + _rise(above, limb.hinge))
            up.append(rotate_about_axis(above, limb.axis, -qpos[:, joint]))
        return np.stack(
            [height[tip.limb] + _rise(up[tip.limb], tip.place) - tip.radius for tip in cls.tips], axis=1
        )

    @classmethod
    def grounded(cls, turn: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """(7 + J,): the pose with the torso turned by a quaternion in which the lowest tip just touches the floor."""
        qpos = np.concatenate([np.zeros(3), turn, joints])
        qpos[2] = -cls.clearance(qpos[None]).min()
        return qpos


def quaternion(qpos: np.ndarray) -> tuple[np.ndarray, ...]:
    """w, x, y and z, each (m,), of the torso in poses (m, 7 + J)."""
    return qpos[:, 3], qpos[:, 4], qpos[:, 5], qpos[:, 6]


def turned(roll: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(4, m) the quaternion that rolls about x, then pitches nose down about y, by so much [rad] (m,)."""
    across, along = (np.cos(roll / 2), np.sin(roll / 2)), (np.cos(pitch / 2), np.sin(pitch / 2))
    return np.stack([along[0] * across[0], along[0] * across[1], along[1] * across[0], -along[1] * across[1]])


def up_of(turn: tuple[np.ndarray, ...]) -> Vector:
    """The direction of up in the frame of a body that is turned by a quaternion."""
    w, x, y, z = turn
    return 2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)


def _rise(up: Vector, place: tuple[float, float, float]) -> np.ndarray:
    """The height [m] of a place in a frame above that frame's origin."""
    return up[0] * place[0] + up[1] * place[1] + up[2] * place[2]


def leg_bound(joints: int) -> np.ndarray:
    """The observation bound of a body with so many joints."""
    return np.concatenate([[10.0, 1.0, 1.0, 1.0], np.full(joints, 5.0), np.full(6 + joints, 10.0)])


class LeggedTask(Task):
    """A life of ten seconds on the floor."""

    robot: ClassVar[type[LeggedRobot]]

    def _leaning(self, random: np.random.Generator, joints: np.ndarray, lean: float, push: float) -> Pose:
        """Facing x in a pose (J,), leaning by about `lean` [rad], moved by about `push` [m/s, rad/s]."""
        low, high = self.robot.limits.T
        x, y = random.normal(0.0, lean / 2, 2)
        turn = np.array([1.0, x, y, 0.0]) / np.sqrt(1.0 + x * x + y * y)
        qpos = self.robot.grounded(turn, np.minimum(np.maximum(joints, low), high))
        return qpos, random.normal(0.0, push, 6 + len(joints))

    def _tumbled(self, roll: float, pitch: float, joints: np.ndarray) -> Pose:
        """Rolled, then pitched nose down by so much [rad] in a pose (J,), let go with one tip on the floor."""
        turn = turned(np.array([roll]), np.array([pitch]))[:, 0]
        return self.robot.grounded(turn, joints), np.zeros(6 + len(joints))


def standing_share(robot: LeggedRobot, height: np.ndarray, tall: float, margin: float) -> np.ndarray:
    """(n,) in [0, 1]: upright and `height` [m] at `tall` or above, falling over `margin` [m] below it."""
    return tolerance(height, tall, np.inf, margin) * (1 + robot.torso_upright()) / 2
