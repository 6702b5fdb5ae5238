"""Cheetah: a planar robot with a long back and two legs of three sprung joints, after HalfCheetah.

Action (6): torques of back hip, knee and ankle, then of the front ones, as fractions of the maximum.
Observation (18): see `PlanarRobot`; the torso's height is in units of 0.626 m.

| task | reward | success |
| --- | --- | --- |
| CheetahRun | forward speed up to 10 m/s, times (1 + upright) / 2 | 10 m/s or faster, not upside down |
| CheetahBackward | backward speed up to 6 m/s, times (1 + upright) / 2 | 6 m/s or faster, not upside down |

Episodes have 250 steps (10 s), start standing and do not terminate early.
"""

from __future__ import annotations

import numpy as np

from .shared.planar import PlanarContactPoint, PlanarLink, PlanarRobot, PlanarTask, planar_observation_limit
from .shared.reward_shaping import as_scalar_array, speed_reward

_RADIUS = 0.046  # [m] of every link
_ZERO, _ONE, _TWO = as_scalar_array(0.0), as_scalar_array(1.0), as_scalar_array(2.0)


class CheetahRobot(PlanarRobot):
    """The cheetah; joints: hip, knee and ankle of the back leg, then of the front leg."""

    model = "cheetah/cheetah.xml"
    substeps = 4  # of 0.01 s
    observation_limit = planar_observation_limit(6)
    standing_height = 0.626
    links = (
        PlanarLink(0, (0.0, 0.0)),
        PlanarLink(0, (-0.5, 0.0)),  # back thigh
        PlanarLink(1, (0.17, -0.25)),  # back shin
        PlanarLink(2, (-0.26, -0.15)),  # back foot
        PlanarLink(0, (0.5, 0.0)),  # front thigh
        PlanarLink(4, (-0.14, -0.24)),  # front shin
        PlanarLink(5, (0.14, -0.20)),  # front foot
    )
    contact_points = (
        PlanarContactPoint(0, -0.5, 0.0, _RADIUS),
        PlanarContactPoint(0, 0.5, 0.0, _RADIUS),
        PlanarContactPoint(0, 0.72, 0.18, _RADIUS),  # nose
        PlanarContactPoint(1, 0.17, -0.25, _RADIUS),
        PlanarContactPoint(2, -0.26, -0.15, _RADIUS),
        PlanarContactPoint(3, 0.05, -0.18, _RADIUS),  # back toes
        PlanarContactPoint(4, -0.14, -0.24, _RADIUS),
        PlanarContactPoint(5, 0.14, -0.20, _RADIUS),
        PlanarContactPoint(6, 0.08, -0.14, _RADIUS),  # front toes
    )
    feet = ((4, 5), (7, 8))
    joint_limits = np.radians([[-60, 30], [-45, 45], [-45, 25], [-40, 60], [-50, 70], [-30, 30]])


class CheetahRun(PlanarTask[CheetahRobot]):
    """Run forward at 10 m/s, with the back up."""

    robot = CheetahRobot
    _TARGET_SPEED = 10.0  # [m/s]
    _DIRECTION = 1.0

    def reward(self, robot: CheetahRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,) the speed reward times (1 + upright) / 2."""
        reward = speed_reward(self._directed_speed(robot), self._TARGET_SPEED)
        reward *= _ONE + robot.upright()
        reward /= _TWO
        return reward

    def success(self, robot: CheetahRobot) -> np.ndarray:
        """Return (n,) bool: at the target speed or faster, and not upside down."""
        fast = self._directed_speed(robot) >= as_scalar_array(self._TARGET_SPEED)
        return fast & (robot.upright() > _ZERO)

    def _directed_speed(self, robot: CheetahRobot) -> np.ndarray:
        """Return (n,) [m/s] the speed in the direction of the task."""
        return as_scalar_array(self._DIRECTION) * robot.speed()


class CheetahBackward(CheetahRun):
    """Run backward at 6 m/s, with the back up."""

    _TARGET_SPEED = 6.0  # [m/s]
    _DIRECTION = -1.0


TASKS = {"CheetahRun": CheetahRun, "CheetahBackward": CheetahBackward}
