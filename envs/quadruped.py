"""Quadruped: a four-legged robot of the size of a Unitree Go1.

Action (12): position targets of hip, thigh and calf, for the front right, front left, rear right and rear left leg.
-1 and 1 are the ends of each target range; the zero action is a crouch with the trunk at 0.2 m.
Observation (34): see `LeggedRobot`; the torso is the trunk, its height is in units of 0.3 m.

| task | reward | success |
| --- | --- | --- |
| QuadrupedStand | upright with the trunk at 0.28 m or above | the same, tilted by no more than 26 degrees |
| QuadrupedWalk | standing, and forward speed up to 1 m/s | standing at 1 m/s or faster |
| QuadrupedRun | standing, and forward speed up to 3 m/s | standing at 3 m/s or faster |
| QuadrupedJump | trunk height from 0.3 to 0.6 m, times (1 + upright) / 2 | upright with the trunk at 0.6 m or above |

Episodes have 500 steps (10 s) and do not terminate early. QuadrupedStand starts rolled by up to 70 degrees.
"""

from __future__ import annotations

import numpy as np

from .engine.task import Pose
from .shared.legged import (
    LeggedRobot,
    LeggedTask,
    SpatialContactPoint,
    SpatialLink,
    legged_observation_limit,
)
from .shared.reward_shaping import speed_reward
from .shared.standing import UPRIGHT, ForwardTask, StandTask

_STANDING_JOINTS = np.array([0.0, 0.76, -1.52] * 4)  # [rad] hip, thigh and calf, with the feet below the hips


def _leg_links(first: int, x: float, side: int) -> tuple[SpatialLink, SpatialLink, SpatialLink]:
    """Return hip, thigh and calf.

    Args:
        first: Index of the hip link.
        x: Position of the hip before the middle of the trunk [m].
        side: 1 for a left leg, -1 for a right leg.
    """
    return (
        SpatialLink(0, (x, side * 0.04675, 0.0), "x"),
        SpatialLink(first, (0.0, side * 0.08, 0.0), "y"),
        SpatialLink(first + 1, (0.0, 0.0, -0.213), "y"),
    )


def _leg_contact_points(first: int) -> tuple[SpatialContactPoint, ...]:
    """Return both ends of the shoulder, both ends of the thigh, and the foot; the hip is link `first`."""
    shoulder = [SpatialContactPoint(first + 1, (0.0, y, 0.0), 0.041) for y in (-0.016, 0.016)]
    thigh = [SpatialContactPoint(first + 1, (0.0, 0.0, z), 0.022) for z in (0.0, -0.213)]
    return (*shoulder, *thigh, SpatialContactPoint(first + 2, (0.0, 0.0, -0.213), 0.02))


def _trunk_contact_points() -> tuple[SpatialContactPoint, ...]:
    """Return the corners of the trunk and both sides of the head."""
    corners = [
        SpatialContactPoint(0, (x, y, z))
        for x in (-0.1881, 0.1881)
        for y in (-0.0468, 0.0468)
        for z in (-0.057, 0.057)
    ]
    return (*corners, *(SpatialContactPoint(0, (0.235, y, 0.01), 0.045) for y in (-0.03, 0.03)))


class QuadrupedRobot(LeggedRobot):
    """The quadruped; legs: front right, front left, rear right, rear left, each with hip, thigh and calf.

    Each joint has a position servo: a spring and a damper, limited to the motor's torque. This is usual for
    such robots, and random actions then explore postures.
    """

    model = "quadruped/quadruped.xml"
    substeps = 4  # of 0.005 s
    mass_groups = {  # noqa: RUF012
        "trunk": ("trunk",),
        "calf": tuple(f"{end}_{side}_calf" for end in ("front", "rear") for side in ("right", "left")),
    }
    observation_limit = legged_observation_limit(12)
    standing_height = 0.3
    stand_height = 0.28  # a Go1 stands at 0.3 m
    stand_margin = 0.12  # lying, at 0.06 m, earns 0.03
    links = (
        SpatialLink(0, (0.0, 0.0, 0.0), "x"),
        *_leg_links(1, 0.1881, -1),
        *_leg_links(4, 0.1881, 1),
        *_leg_links(7, -0.1881, -1),
        *_leg_links(10, -0.1881, 1),
    )
    contact_points = (
        *_trunk_contact_points(),
        *(point for first in (1, 4, 7, 10) for point in _leg_contact_points(first)),
    )
    feet = ((14,), (19,), (24,), (29,))
    joint_limits = np.array([[-0.863, 0.863], [-0.686, 4.501], [-2.818, -0.888]] * 4)


class _QuadrupedTask(LeggedTask[QuadrupedRobot]):
    robot = QuadrupedRobot
    max_episode_steps = 500  # 10 s

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the robot standing, with small random joint angles and velocities."""
        joints = _STANDING_JOINTS + random.uniform(-0.1, 0.1, 12)
        return self._sample_upright_state(random, joints, tilt=0.05, speed=0.05)


class QuadrupedStand(StandTask[QuadrupedRobot], _QuadrupedTask):
    """Get up from the floor and stand with the trunk at 0.28 m or above."""

    # [rad] bounds of the initial joint angles: folded legs that do not penetrate each other
    _LOW, _HIGH = np.array([-0.4, 0.0, -2.7] * 4), np.array([0.4, 2.2, -1.9] * 4)

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the robot on the floor, rolled by up to 70 degrees, with randomly folded legs."""
        roll, pitch = random.uniform(-1.2, 1.2), random.uniform(-0.5, 0.5)
        return self._tilted_state(roll, pitch, random.uniform(self._LOW, self._HIGH))


class QuadrupedWalk(ForwardTask[QuadrupedRobot], _QuadrupedTask):
    """Walk in the direction it faces at 1 m/s, upright."""

    target_speed = 1.0


class QuadrupedRun(QuadrupedWalk):
    """Run in the direction it faces at 3 m/s, upright."""

    target_speed = 3.0


class QuadrupedJump(_QuadrupedTask):
    """Jump repeatedly, with the trunk upright at 0.6 m or above."""

    _HEIGHT = 0.6  # [m] twice the standing height

    def reward(self, robot: QuadrupedRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,): 0 at the standing height, 1 at 0.6 m, times (1 + upright) / 2."""
        height = robot.torso_height() - robot.standing_height
        return speed_reward(height, self._HEIGHT - robot.standing_height) * (1 + robot.upright()) / 2

    def success(self, robot: QuadrupedRobot) -> np.ndarray:
        """Return (n,) bool: upright at 0.6 m or above."""
        return (robot.torso_height() >= self._HEIGHT) & (robot.upright() >= UPRIGHT)


TASKS = {
    "QuadrupedStand": QuadrupedStand,
    "QuadrupedWalk": QuadrupedWalk,
    "QuadrupedRun": QuadrupedRun,
    "QuadrupedJump": QuadrupedJump,
}
