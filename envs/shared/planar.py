"""What all runners in the vertical plane share: their limbs, what they sense, how they stand on the floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..engine.task import Pose, Task, cached_per_step
from .floor_contact import FloorContactRobot

_SPEED = 5.0  # [m/s] and
_SPIN = 10.0  # [rad/s]: speeds of a vigorous run, to bring velocities to unit scale
_FREE = 3  # the torso's own coordinates: x, z, pitch


@dataclass(frozen=True)
class Limb:
    """A rigid part that turns about a hinge; limb k is moved by joint k - 1, limb 0 is the torso."""

    parent: int
    hinge: tuple[float, float]  # [m] x and z in the parent's frame


@dataclass(frozen=True)
class Tip:
    """A round end of a limb: where the body meets the floor."""

    limb: int
    x: float  # [m] in the limb's frame
    z: float  # [m]
    radius: float  # [m]


class PlanarRobot(FloorContactRobot):
    """A torso that slides and pitches in the plane, with a tree of limbs on hinges; 25 control steps a second.

    Coordinates: torso x [m], height z [m], pitch [rad] (nose down positive), then the joints [rad] (limb forward
    positive). Observation (6 + 2 J): height / standing height, cosine and sine of the pitch, joint angles [rad],
    torso velocity / 5 m/s, pitch and joint velocities / 10 rad/s. Where it is along the track is not sensed.
    """

    limbs: ClassVar[tuple[Limb, ...]]
    tips: ClassVar[tuple[Tip, ...]]
    limits: ClassVar[np.ndarray]  # (J, 2) [rad] what each joint allows
    stature: ClassVar[float]  # [m] height of the torso when it stands

    def __init__(self, batch: Any) -> None:
        super().__init__(batch)
        joints = _joints(type(self))
        whole = 2 * (_FREE + joints)  # coordinates and velocities; a row of the state begins with the time
        self._rows = batch.state  # (n, P) live
        self._sensed = np.r_[2, 3, 3, 4 : 1 + whole]  # its columns: all but x; the pitch for cosine and sine
        scale = np.concatenate(
            [[self.stature, 1.0, 1.0], np.ones(joints), [_SPEED, _SPEED], np.full(1 + joints, _SPIN)]
        )
        self._scale = np.tile(scale, (len(self.qpos), 1))  # a row for every lane: quicker to divide by

    def torso_height(self) -> np.ndarray:
        """(n,) [m] above the floor."""
        return self.qpos[:, 1]

    @cached_per_step
    def upright(self) -> np.ndarray:
        """(n,) cosine of the pitch: 1 as it stands, -1 upside down."""
        return np.cos(self.qpos[:, 2])

    def speed(self) -> np.ndarray:
        """(n,) [m/s] of the torso, forward."""
        return self.qvel[:, 0]

    def spin(self) -> np.ndarray:
        """(n,) [rad/s] of the torso, turning over forward."""
        return self.qvel[:, 2]

    def observation(self) -> np.ndarray:
        """(n, 6 + 2 J)."""
        seen = self._rows.take(self._sensed, axis=1)
        seen /= self._scale
        sine = seen[:, 2]
        seen[:, 1] = self.upright()
        np.sin(sine, out=sine)
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 3 + J): at the beginning of the track, since no observation tells where along it."""
        height = observation[:, :1] * cls.stature
        pitch = np.arctan2(observation[:, 2:3], observation[:, 1:2])
        return np.concatenate(
            [np.zeros_like(height), height, pitch, observation[:, 3 : 3 + _joints(cls)]], axis=1
        )

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Torso height [m] and pitch, joints, their velocities [m/s, rad/s], which feet stand on the floor (0, 1)."""
        pitch, joints = self.qpos[:, 2:3], self.qpos[:, _FREE:]
        return {
            "torso_height": self.qpos[:, 1:2].copy(),
            "torso_pitch_cos": np.cos(pitch),
            "torso_pitch_sin": np.sin(pitch),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "torso_velocity": self.qvel[:, :2].copy(),
            "pitch_velocity": self.qvel[:, 2:3].copy(),
            "joint_velocity": self.qvel[:, _FREE:].copy(),
            "foot_contact": self.contacts(self.qpos),
        }

    @classmethod
    def clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """(m, tips) [m] between the underside of every tip and the floor, in poses (m, 3 + J)."""
        angle, height = [qpos[:, 2]], [qpos[:, 1]]
        for joint, limb in enumerate(cls.limbs[1:], start=_FREE):
            above = angle[limb.parent]
            height.append(height[limb.parent] + _drop(above, *limb.hinge))
            angle.append(above - qpos[:, joint])
        return np.stack(
            [height[tip.limb] + _drop(angle[tip.limb], tip.x, tip.z) - tip.radius for tip in cls.tips], axis=1
        )

    @classmethod
    def grounded(cls, pitch: float, joints: np.ndarray) -> np.ndarray:
        """(3 + J,): the pose in which the lowest tip just touches the floor."""
        qpos = np.concatenate([[0.0, 0.0, pitch], joints])
        qpos[1] = -cls.clearance(qpos[None]).min()
        return qpos


def _drop(angle: np.ndarray, x: float, z: float) -> np.ndarray:
    """The height [m] of the point (x, z) of a frame above that frame's origin, the frame pitched by `angle`."""
    return z * np.cos(angle) - x * np.sin(angle)


def _joints(runner: type[PlanarRobot]) -> int:
    return len(runner.limbs) - 1


def runner_bound(joints: int) -> np.ndarray:
    """The observation bound of a runner with so many joints."""
    return np.concatenate([[4.0, 1.0, 1.0], np.full(joints, 4.0), np.full(3 + joints, 10.0)])


class PlanarTask(Task):
    """A life of ten seconds on the track."""

    robot: ClassVar[type[PlanarRobot]]
    max_episode_steps = 250  # 10 s

    def standing(self, random: np.random.Generator) -> Pose:
        """On its feet, every joint a little off, nearly still."""
        joints = random.uniform(-0.1, 0.1, _joints(self.robot))  # [rad]
        low, high = self.robot.limits.T
        qpos = self.robot.grounded(random.uniform(-0.05, 0.05), np.minimum(np.maximum(joints, low), high))
        return qpos, random.normal(0.0, 0.05, len(qpos))

    def fallen(self, random: np.random.Generator) -> Pose:
        """Any way round, every joint anywhere within its limits, let go with one tip on the floor."""
        joints = random.uniform(*self.robot.limits.T)
        qpos = self.robot.grounded(random.uniform(-np.pi, np.pi), joints)
        return qpos, np.zeros(len(qpos))
