"""Hand: three fingers and a thumb under a cube that lies on the palm, asked to turn it in the hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engine.task import Pose, Robot, Task, cached_per_step
from .shared.reward_shaping import tolerance
from .shared.rotations import Vector, columns, cross, quaternion_of, rotate_about_axis, rotate_inverse

_TILT = 0.1  # [rad] by which the palm is lower towards the fingers
_COSINE, _SINE = math.cos(_TILT), math.sin(_TILT)
_SPLAY = math.sin(math.radians(5))  # of 5 degrees: index and ring point apart, the thumb to the wrist
_STRAIGHT = math.cos(math.radians(5))
_HALF = 0.03  # [m] half the cube's edge
_TOP = 0.0111  # [m] of the palm's surface above the axes of the fingers
_NEST = np.array([-0.034, 0.0, _TOP + _HALF])  # [m] where the cube lies, in the palm's frame
_TIP = 0.012  # [m] radius of a fingertip
_TOUCH = 1e-3  # [m] between fingertip and cube within which they count as touching
_LOW = -0.03  # [m] height of the palm's underside
_PLACE = 0.05  # [m] and
_SPEED = 0.5  # [m/s],
_SPIN = 5.0  # [rad/s] of a cube that is pushed about,
_JOINT_SPIN = 10.0  # [rad/s] of a joint in a hurry: to bring observations to unit scale

Rows = tuple[tuple[float, ...], ...]  # a rotation, (3, 3)


@dataclass(frozen=True)
class Finger:
    """A chain of four hinges; the first turns about `axes[0]` of a frame that is fixed in the palm."""

    base: tuple[float, float, float]  # [m] in the palm's frame
    frame: Rows  # its columns are the frame's axes in the palm's
    axes: tuple[str, ...]  # in each link's frame: "x", "y" or "z", with "-" for turning the other way round
    places: tuple[tuple[float, float, float], ...]  # [m] of the next hinge, and at last of the tip's middle


def _finger(y: float, splay: float) -> Finger:
    """A finger beside the middle by `y` [m], turned from it by an angle of this sine."""
    straight = math.sqrt(1 - splay * splay)
    frame = ((straight, -splay, 0.0), (splay, straight, 0.0), (0.0, 0.0, 1.0))
    base = (-0.001542 if splay else 0.0007, y, 0.0)
    places = tuple((length, 0.0, 0.0) for length in (0.0164, 0.054, 0.0384, 0.0267))
    return Finger(base, frame, ("x", "-y", "-y", "-y"), places)


_THUMB = Finger(
    (-0.045987, -0.019333, -0.0182),
    ((-_SPLAY, 0.0, _STRAIGHT), (-_STRAIGHT, 0.0, -_SPLAY), (0.0, -1.0, 0.0)),
    ("-z", "x", "-y", "-y"),
    ((0.0399, -0.005, -0.027), (0.0177, 0.0, 0.0), (0.0514, 0.0, 0.0), (0.0423, 0.0, 0.0)),
)
FINGERS = (_finger(-0.0435, -_SPLAY), _finger(0.0, 0.0), _finger(0.0435, _SPLAY), _THUMB)


class HandAndCube(Robot):
    """Index, middle, ring and thumb, each with four servos, and a free cube; 20 control steps a second.

    An action is a target for every joint, around a loose cradle over the cube; its servo pulls there as a spring
    with a damper, no stronger than the motor. Observation (47): joint angles in halves of what targets span,
    from their middle (16), joint velocities / 10 rad/s (16), where the cube is from the middle of its nest
    / 0.05 m (3), its x and z axes (6), its velocity / 0.5 m/s (3) and spin / 5 rad/s (3) in the world's frame.
    """

    model = "hand/hand.xml"
    substeps = 10  # of 0.005 s
    mass_groups = {"cube": ("cube",)}  # noqa: RUF012
    observation_limit = np.concatenate(
        [np.full(16, 3.0), np.full(16, 10.0), np.full(3, 10.0), np.full(6, 1.0), np.full(6, 10.0)]
    )
    targets = np.array(
        [[-0.47, 0.47], [0.2, 1.6], [0.2, 1.7], [0.0, 1.6]] * 3
        + [[0.3, 1.3], [0.0, 1.1], [-0.1, 1.5], [-0.1, 1.5]]
    )  # (16, 2) [rad] what actions span

    def cube_offset(self) -> np.ndarray:
        """(n, 3) [m] of the cube from the middle of its nest."""
        return self.qpos[:, :3] - NEST

    def cube_distance(self) -> np.ndarray:
        """(n,) [m] of the cube from the middle of its nest."""
        x, y, z = columns(self.cube_offset())
        return np.sqrt(x * x + y * y + z * z)

    @cached_per_step
    def cube_spin(self) -> Vector:
        """[rad/s] about the world's x, y and z."""
        w, x, y, z = _cube_turn(self.qpos)
        return rotate_inverse((w, -x, -y, -z), columns(self.qvel[:, 3:6]))

    def cube_axes(self) -> tuple[Vector, Vector]:
        """The cube's own x and z in the world's frame."""
        w, x, y, z = _cube_turn(self.qpos)
        first = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
        return first, (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))

    def observation(self) -> np.ndarray:
        """(n, 47)."""
        low, high = self.targets.T
        joints = (self.qpos[:, 7:] - (low + high) / 2) / ((high - low) / 2)
        first, up = self.cube_axes()
        spin = np.stack(self.cube_spin(), axis=1) / _SPIN
        cube = [self.cube_offset() / _PLACE, np.stack(first + up, axis=1), self.qvel[:, :3] / _SPEED, spin]
        return np.concatenate([joints, self.qvel[:, 6:] / _JOINT_SPIN, *cube], axis=1)

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 23): the cube's place and turn, and the joints; imagined axes are made straight first."""
        low, high = cls.targets.T
        observation = np.asarray(observation, np.float64)
        joints = observation[:, :16] * ((high - low) / 2) + (low + high) / 2
        place = observation[:, 32:35] * _PLACE + NEST
        first, up = observation[:, 35:38], observation[:, 38:41]
        turn = quaternion_of(np.concatenate([first, cross(up, first)], axis=1))
        return np.concatenate([place, turn, joints], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Cube place [m], axes, velocities [m/s, rad/s], joints, their velocities, which fingertips touch it (0, 1)."""
        joints, (first, up) = self.qpos[:, 7:], self.cube_axes()
        return {
            "cube_position": self.qpos[:, :3].copy(),
            "cube_axis": np.stack(first, axis=1),
            "cube_up": np.stack(up, axis=1),
            "cube_velocity": self.qvel[:, :3].copy(),
            "cube_angular_velocity": np.stack(self.cube_spin(), axis=1),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, 6:].copy(),
            "fingertip_contact": (fingertip_distances(self.qpos) <= _TOUCH).astype(np.float64),
        }


def _cube_turn(qpos: np.ndarray) -> tuple[np.ndarray, ...]:
    """w, x, y and z, each (m,), of the cube in poses (m, 23)."""
    return qpos[:, 3], qpos[:, 4], qpos[:, 5], qpos[:, 6]


def fingertip(qpos: np.ndarray, number: int) -> Vector:
    """[m] the middle of a fingertip in the world's frame, in poses (m, 23)."""
    finger, first = FINGERS[number], 7 + 4 * number
    x, y, z = (np.full(len(qpos), value) for value in finger.places[-1])
    for joint in (3, 2, 1, 0):
        x, y, z = rotate_about_axis((x, y, z), finger.axes[joint], qpos[:, first + joint])
        if joint:
            right, left, up = finger.places[joint - 1]
            x, y, z = x + right, y + left, z + up
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in finger.frame)
    a, b, c = a + finger.base[0], b + finger.base[1], c + finger.base[2]
    return _COSINE * a + _SINE * c, b, _COSINE * c - _SINE * a


def fingertip_distances(qpos: np.ndarray) -> np.ndarray:
    """(m, 4) [m] between the surfaces of each fingertip and the cube, in poses (m, 23)."""
    gaps = []
    for number in range(len(FINGERS)):
        place = tuple(a - b for a, b in zip(fingertip(qpos, number), columns(qpos[:, :3])))
        x, y, z = (
            np.maximum(np.abs(a) - _HALF, 0.0)
            for a in rotate_inverse(_cube_turn(qpos), (place[0], place[1], place[2]))
        )
        gaps.append(np.sqrt(x * x + y * y + z * z) - _TIP)
    return np.stack(gaps, axis=1)


def _in_world(place: np.ndarray) -> np.ndarray:
    """(3,) [m] of a place in the palm's frame."""
    x, y, z = place
    return np.array([_COSINE * x + _SINE * z, y, _COSINE * z - _SINE * x])


NEST = _in_world(_NEST)  # (3,) [m] where the cube lies, in the world's frame


class HandTurn(Task):
    """Turn the cube about the vertical at 1 rad/s, counterclockwise from above, without letting it go.

    The speed is that of the moment: jerks to and fro are paid as well, though far less than turning evenly.
    """

    robot = HandAndCube
    max_episode_steps = 400  # 20 s

    _WISHED = 1.0  # [rad/s]
    _WITHIN = 0.25  # [rad/s] of it counts as turning so
    _MARGIN = 0.5  # [rad/s] beyond that, where 0.1 is left
    _NEAR = 0.03  # [m] from the middle of the nest it is well held,
    _FAR = 0.05  # [m] beyond that a tenth as well
    _STEADY = 0.1  # [m/s] a cube that moves no faster than this, and
    _LEVEL = 0.5  # [rad/s] tumbles no faster than this, is in the hand's power

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """The cube flat on the palm any way round, the fingers about it at rest, every joint a little off."""
        low, high = self.robot.targets.T
        joints = (low + high) / 2 + random.uniform(-0.1, 0.1, 16)
        place = _in_world(_NEST + [*random.uniform(-0.003, 0.003, 2), 0.0])
        yaw = random.uniform(-math.pi, math.pi) / 2
        lean, level = math.sin(_TILT / 2), math.cos(_TILT / 2)
        turn = [level * math.cos(yaw), lean * math.sin(yaw), lean * math.cos(yaw), level * math.sin(yaw)]
        return np.concatenate([place, turn, joints]), np.zeros(22)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """1 at the wished speed, 0 at rest and turning backwards, less where the cube leaves its nest."""
        resting, speed = self._pace(np.zeros(1)), self._pace(robot.cube_spin()[2])
        turning = np.maximum(speed - resting, 0.0) / (1.0 - resting)
        return turning * tolerance(robot.cube_distance(), -np.inf, self._NEAR, self._FAR)

    def _pace(self, spin: np.ndarray) -> np.ndarray:
        """(m,) in (0, 1]: 1 for a spin (m,) [rad/s] about the wished one."""
        return tolerance(spin, self._WISHED - self._WITHIN, self._WISHED + self._WITHIN, self._MARGIN)

    def success(self, robot: Any) -> np.ndarray:
        """It turns at the wished speed within a quarter, held: near its nest, neither thrown nor tumbling."""
        tumble, roll, around = robot.cube_spin()
        x, y, z = columns(robot.qvel[:, :3])
        held = (robot.cube_distance() <= self._NEAR) & (x * x + y * y + z * z <= self._STEADY**2)
        level = tumble * tumble + roll * roll <= self._LEVEL**2
        return held & level & (np.abs(around - self._WISHED) <= self._WITHIN)

    def terminated(self, robot: Any) -> np.ndarray:
        """The cube is below the palm: it has been dropped."""
        return robot.qpos[:, 2] < _LOW


TASKS = {"HandTurn": HandTurn}
