"""Hand: a right hand of three fingers and a thumb, palm up, with a cube on it, after the Allegro Hand.

Action (16): position targets of four joints each for index, middle, ring and thumb; -1 and 1 are the ends of each
target range. With the zero action the fingers bend loosely around the cube.
Observation (47): joint angles from the center of their target range, / half of that range (16), joint velocities /
10 rad/s (16), cube position from its rest position / 0.05 m (3), x and z axis of the cube (6), cube velocity / 0.5 m/s
(3) and angular velocity / 5 rad/s (3), all in the world's frame.

Task HandTurn: turn the cube about the vertical at 1 rad/s, counterclockwise from above, without dropping it.
Reward: 1 at 1 rad/s, 0 at rest or backward, falling with the cube's distance from its rest position.
Success: within 0.25 rad/s of the target, the cube near its rest position and neither moving nor tumbling.
Termination: the cube falls below the palm. Episodes have 400 steps (20 s).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .engine.task import Pose, Robot, Task, cached_per_step
from .shared.reward_shaping import tolerance
from .shared.rotations import (
    Quaternion,
    Vector,
    cross,
    quaternion_from_6d,
    rotate_about_axis,
    rotate_inverse,
    split_wxyz,
    split_xyz,
)

_TILT = 0.1  # [rad] of the palm, lower toward the fingers
_COSINE, _SINE = math.cos(_TILT), math.sin(_TILT)  # of the palm's tilt
_SPLAY = math.sin(math.radians(5))  # sine of the splay angle of index, ring and thumb
_STRAIGHT = math.cos(math.radians(5))  # its cosine
_CUBE_HALF = 0.03  # [m] half the edge length
_PALM_SURFACE = 0.0111  # [m] above the axes of the fingers
_PALM_REST = np.array([-0.034, 0.0, _PALM_SURFACE + _CUBE_HALF])  # [m] of the cube in the palm's frame
_TIP_RADIUS = 0.012  # [m]
_CONTACT = 1e-3  # [m] distance of fingertip and cube below which they count as in contact
_DROP_HEIGHT = -0.03  # [m] below which the cube is dropped: the underside of the palm
_OFFSET = 0.05  # [m] unit of the observed cube position
_SPEED = 0.5  # [m/s] unit of the observed cube velocity
_SPIN = 5.0  # [rad/s] unit of the observed angular velocity of the cube
_JOINT_SPEED = 10.0  # [rad/s] unit of observed joint velocities

RotationRows = tuple[tuple[float, ...], ...]  # (3, 3)


@dataclass(frozen=True)
class Finger:
    """A chain of four hinges on a base frame that is fixed in the palm."""

    base: tuple[float, float, float]  # [m] in the palm's frame
    frame: RotationRows  # its columns are the axes of the base frame in the palm's frame
    axes: tuple[str, ...]  # of each hinge, in its parent's frame: "x", "y" or "z"; "-" reverses the direction
    offsets: tuple[tuple[float, float, float], ...]  # [m] to the next hinge, the last to the tip's center


def _finger(y: float, splay: float) -> Finger:
    """Return a finger `y` [m] beside the middle finger, splayed by an angle with this sine."""
    straight = math.sqrt(1 - splay * splay)
    frame = ((straight, -splay, 0.0), (splay, straight, 0.0), (0.0, 0.0, 1.0))
    base = (-0.001542 if splay else 0.0007, y, 0.0)
    offsets = tuple((length, 0.0, 0.0) for length in (0.0164, 0.054, 0.0384, 0.0267))
    return Finger(base, frame, ("x", "-y", "-y", "-y"), offsets)


_THUMB = Finger(
    (-0.045987, -0.019333, -0.0182),
    ((-_SPLAY, 0.0, _STRAIGHT), (-_STRAIGHT, 0.0, -_SPLAY), (0.0, -1.0, 0.0)),
    ("-z", "x", "-y", "-y"),
    ((0.0399, -0.005, -0.027), (0.0177, 0.0, 0.0), (0.0514, 0.0, 0.0), (0.0423, 0.0, 0.0)),
)
FINGERS = (_finger(-0.0435, -_SPLAY), _finger(0.0, 0.0), _finger(0.0435, _SPLAY), _THUMB)


class HandRobot(Robot):
    """The hand with position servos on its joints, and the free cube; 20 control steps per second.

    A servo is a spring and a damper, limited to the motor's torque.
    """

    model = "hand/hand.xml"
    substeps = 10  # of 0.005 s
    mass_groups = {"cube": ("cube",)}  # noqa: RUF012
    observation_limit = np.concatenate(
        [np.full(16, 3.0), np.full(16, 10.0), np.full(3, 10.0), np.full(6, 1.0), np.full(6, 10.0)]
    )
    target_range = np.array(
        [[-0.47, 0.47], [0.2, 1.6], [0.2, 1.7], [0.0, 1.6]] * 3
        + [[0.3, 1.3], [0.0, 1.1], [-0.1, 1.5], [-0.1, 1.5]]
    )  # (16, 2) [rad]

    def cube_offset(self) -> np.ndarray:
        """Return (n, 3) [m] the cube's position from its rest position."""
        return self.qpos[:, :3] - REST_POSITION

    def cube_distance(self) -> np.ndarray:
        """Return (n,) [m] the cube's distance from its rest position."""
        x, y, z = split_xyz(self.cube_offset())
        return np.sqrt(x * x + y * y + z * z)

    @cached_per_step
    def cube_spin(self) -> Vector:
        """Return the cube's angular velocity [rad/s] about the world's x, y and z."""
        w, x, y, z = _cube_quaternion(self.qpos)
        return rotate_inverse((w, -x, -y, -z), split_xyz(self.qvel[:, 3:6]))

    def cube_axes(self) -> tuple[Vector, Vector]:
        """Return the cube's x and z axis in the world's frame."""
        w, x, y, z = _cube_quaternion(self.qpos)
        x_axis = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
        return x_axis, (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))

    def observation(self) -> np.ndarray:
        """Return the observation (n, 47)."""
        low, high = self.target_range.T
        joints = (self.qpos[:, 7:] - (low + high) / 2) / ((high - low) / 2)
        x_axis, z_axis = self.cube_axes()
        spin = np.stack(self.cube_spin(), axis=1) / _SPIN
        cube = [
            self.cube_offset() / _OFFSET,
            np.stack(x_axis + z_axis, axis=1),
            self.qvel[:, :3] / _SPEED,
            spin,
        ]
        return np.concatenate([joints, self.qvel[:, 6:] / _JOINT_SPEED, *cube], axis=1)

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 23): cube position and orientation, and joints; axes need not be orthonormal."""
        low, high = cls.target_range.T
        observation = np.asarray(observation, np.float64)
        joints = observation[:, :16] * ((high - low) / 2) + (low + high) / 2
        position = observation[:, 32:35] * _OFFSET + REST_POSITION
        x_axis, z_axis = observation[:, 35:38], observation[:, 38:41]
        quaternion = quaternion_from_6d(np.concatenate([x_axis, cross(z_axis, x_axis)], axis=1))
        return np.concatenate([position, quaternion, joints], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return the cube's position [m], axes and velocities [m/s, rad/s], the joints and fingertip contacts."""
        joints, (x_axis, z_axis) = self.qpos[:, 7:], self.cube_axes()
        return {
            "cube_position": self.qpos[:, :3].copy(),
            "cube_axis": np.stack(x_axis, axis=1),
            "cube_up": np.stack(z_axis, axis=1),
            "cube_velocity": self.qvel[:, :3].copy(),
            "cube_angular_velocity": np.stack(self.cube_spin(), axis=1),
            "joint_position_cos": np.cos(joints),
            "joint_position_sin": np.sin(joints),
            "joint_velocity": self.qvel[:, 6:].copy(),
            "fingertip_contact": (fingertip_distances(self.qpos) <= _CONTACT).astype(np.float64),
        }


def _cube_quaternion(qpos: np.ndarray) -> Quaternion:
    return split_wxyz(qpos[:, 3:7])


def fingertip_position(qpos: np.ndarray, finger_index: int) -> Vector:
    """Return the center [m] of a fingertip in the world's frame, for poses (m, 23)."""
    finger, first = FINGERS[finger_index], 7 + 4 * finger_index
    x, y, z = (np.full(len(qpos), value, like=qpos) for value in finger.offsets[-1])
    for joint in (3, 2, 1, 0):
        x, y, z = rotate_about_axis((x, y, z), finger.axes[joint], qpos[:, first + joint])
        if joint:
            dx, dy, dz = finger.offsets[joint - 1]
            x, y, z = x + dx, y + dy, z + dz
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in finger.frame)
    a, b, c = a + finger.base[0], b + finger.base[1], c + finger.base[2]
    return _COSINE * a + _SINE * c, b, _COSINE * c - _SINE * a


def fingertip_distances(qpos: np.ndarray) -> np.ndarray:
    """Return (m, 4) [m] between the surfaces of each fingertip and the cube, for poses (m, 23)."""
    distances = []
    for finger_index in range(len(FINGERS)):
        tip = fingertip_position(qpos, finger_index)
        offset = tuple(a - b for a, b in zip(tip, split_xyz(qpos[:, :3])))
        x, y, z = (
            np.maximum(np.abs(a) - _CUBE_HALF, 0.0)
            for a in rotate_inverse(_cube_quaternion(qpos), (offset[0], offset[1], offset[2]))
        )
        distances.append(np.sqrt(x * x + y * y + z * z) - _TIP_RADIUS)
    return np.stack(distances, axis=1)


def _palm_to_world(position: np.ndarray) -> np.ndarray:
    """Return a position (3,) [m] of the palm's frame in the world's frame."""
    x, y, z = position
    return np.array([_COSINE * x + _SINE * z, y, _COSINE * z - _SINE * x])


REST_POSITION = _palm_to_world(_PALM_REST)  # (3,) [m] of the cube in the world's frame


class HandTurn(Task[HandRobot]):
    """Turn the cube about the vertical at 1 rad/s, without dropping it.

    Reward and success use the current angular velocity, so oscillation is rewarded too, but far less than
    steady turning.
    """

    robot = HandRobot
    max_episode_steps = 400  # 20 s

    _TARGET_SPIN = 1.0  # [rad/s]
    _SPIN_TOLERANCE = 0.25  # [rad/s]
    _SPIN_MARGIN = 0.5  # [rad/s] beyond the tolerance, at which the spin factor is 0.1
    _DISTANCE = 0.03  # [m] from the rest position within which the reward is full
    _DISTANCE_MARGIN = 0.05  # [m] beyond `_DISTANCE`, at which the distance factor is 0.1
    _MAX_SPEED = 0.1  # [m/s] of the cube in a success
    _MAX_TUMBLE = 0.5  # [rad/s] about the horizontal axes in a success

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the cube flat on the palm with a random yaw, and the fingers around it, at rest."""
        low, high = self.robot.target_range.T
        joints = (low + high) / 2 + random.uniform(-0.1, 0.1, 16)
        position = _palm_to_world(_PALM_REST + [*random.uniform(-0.003, 0.003, 2), 0.0])
        yaw = random.uniform(-math.pi, math.pi) / 2
        sine, cosine = math.sin(_TILT / 2), math.cos(_TILT / 2)
        quaternion = [
            cosine * math.cos(yaw),
            sine * math.sin(yaw),
            sine * math.cos(yaw),
            cosine * math.sin(yaw),
        ]
        return np.concatenate([position, quaternion, joints]), np.zeros(22)

    def reward(self, robot: HandRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,): 1 at the target spin, 0 at rest or backward, less away from the rest position."""
        at_rest, current = self._spin_tolerance(np.zeros(1)), self._spin_tolerance(robot.cube_spin()[2])
        turning = np.maximum(current - at_rest, 0.0) / (1.0 - at_rest)
        return turning * tolerance(robot.cube_distance(), -np.inf, self._DISTANCE, self._DISTANCE_MARGIN)

    def _spin_tolerance(self, spin: np.ndarray) -> np.ndarray:
        """Return (m,) in (0, 1]: 1 for spins (m,) [rad/s] near the target."""
        return tolerance(
            spin,
            self._TARGET_SPIN - self._SPIN_TOLERANCE,
            self._TARGET_SPIN + self._SPIN_TOLERANCE,
            self._SPIN_MARGIN,
        )

    def success(self, robot: HandRobot) -> np.ndarray:
        """Return (n,) bool: turning at the target spin, near the rest position, slow and without tumbling."""
        spin_x, spin_y, spin_z = robot.cube_spin()
        x, y, z = split_xyz(robot.qvel[:, :3])
        in_hand = (robot.cube_distance() <= self._DISTANCE) & (x * x + y * y + z * z <= self._MAX_SPEED**2)
        level = spin_x * spin_x + spin_y * spin_y <= self._MAX_TUMBLE**2
        return in_hand & level & (np.abs(spin_z - self._TARGET_SPIN) <= self._SPIN_TOLERANCE)

    def terminated(self, robot: HandRobot) -> np.ndarray:
        """Return (n,) bool: the cube is below the palm."""
        return robot.qpos[:, 2] < _DROP_HEIGHT


TASKS = {"HandTurn": HandTurn}
