"""Walker: a planar biped of a torso on two legs with thigh, shin and foot, after dm_control's Walker.

Action (6): torques of right hip, knee and ankle, then of the left ones, as fractions of the maximum.
Observation (18): see `PlanarRobot`; the torso's height is in units of 1.3 m.

| task | reward | success |
| --- | --- | --- |
| WalkerStand | upright with the torso at 1.2 m or above | the same, tilted by no more than 26 degrees |
| WalkerWalk | standing, and forward speed up to 1 m/s | standing at 1 m/s or faster |
| WalkerRun | standing, and forward speed up to 8 m/s | standing at 8 m/s or faster |
| WalkerFlip | forward pitch velocity up to 5 rad/s, torso at 0.6 m or above | the same, upside down |

Episodes have 250 steps (10 s) and do not terminate early. WalkerStand starts lying at a random pitch.
"""

from __future__ import annotations

import numpy as np

from .shared.planar import (
    PlanarContactPoint,
    PlanarFallenTask,
    PlanarLink,
    PlanarRobot,
    PlanarTask,
    planar_observation_limit,
)
from .shared.reward_shaping import speed_reward, tolerance
from .shared.standing import ForwardTask, StandingRobot, StandTask


def _leg_links(first: int) -> tuple[PlanarLink, PlanarLink, PlanarLink]:
    """Return thigh, shin and foot; the thigh is link `first`."""
    return (
        PlanarLink(0, (0.0, -0.3)),
        PlanarLink(first, (0.0, -0.45)),
        PlanarLink(first + 1, (0.0, -0.5)),
    )


def _leg_contact_points(first: int) -> tuple[PlanarContactPoint, ...]:
    """Return hip, both sides of the knee, ankle, heel and toes; the thigh is link `first`."""
    return (
        PlanarContactPoint(first, 0.0, 0.0, 0.05),
        PlanarContactPoint(first, 0.0, -0.45, 0.05),
        PlanarContactPoint(first + 1, 0.0, 0.0, 0.04),
        PlanarContactPoint(first + 1, 0.0, -0.5, 0.04),
        PlanarContactPoint(first + 2, -0.05, 0.0, 0.05),
        PlanarContactPoint(first + 2, 0.15, 0.0, 0.05),
    )


class WalkerRobot(StandingRobot, PlanarRobot):
    """The walker; joints: hip, knee and ankle of the right leg, then of the left leg."""

    model = "walker/walker.xml"
    substeps = 8  # of 0.005 s
    observation_limit = planar_observation_limit(6)
    standing_height = 1.3
    stand_height = 1.2  # 1.3 m with straight legs
    stand_margin = 0.6
    links = (PlanarLink(0, (0.0, 0.0)), *_leg_links(1), *_leg_links(4))
    contact_points = (
        PlanarContactPoint(0, 0.0, -0.3, 0.07),
        PlanarContactPoint(0, 0.0, 0.3, 0.07),
        *_leg_contact_points(1),
        *_leg_contact_points(4),
    )
    feet = ((6, 7), (12, 13))
    joint_limits = np.radians([[-20, 100], [-150, 0], [-45, 45]] * 2)


class WalkerStand(StandTask[WalkerRobot], PlanarFallenTask[WalkerRobot]):
    """Get up from any pose and stand with the torso at 1.2 m or above."""

    robot = WalkerRobot


class WalkerWalk(ForwardTask[WalkerRobot], PlanarTask[WalkerRobot]):
    """Walk forward at 1 m/s, upright."""

    robot = WalkerRobot
    target_speed = 1.0


class WalkerRun(WalkerWalk):
    """Run forward at 8 m/s, upright."""

    target_speed = 8.0


class WalkerFlip(PlanarTask[WalkerRobot]):
    """Flip forward repeatedly at 5 rad/s, one flip every 1.3 s (after URLB; Laskin et al. 2021)."""

    robot = WalkerRobot
    _PITCH_VELOCITY = 5.0  # [rad/s] target
    _HEIGHT = 0.6  # [m] torso height at which the head clears the floor
    _HEIGHT_MARGIN = 0.4  # [m] below `_HEIGHT`, at which the height factor is 0.1: rolling earns little

    def reward(self, robot: WalkerRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,) the speed reward of the pitch velocity, times height, times (2 - upright) / 3.

        The last factor makes the reward upside down three times that upright, so that rocking earns little.
        """
        high = tolerance(robot.torso_height(), self._HEIGHT, np.inf, self._HEIGHT_MARGIN)
        return speed_reward(robot.pitch_velocity(), self._PITCH_VELOCITY) * high * (2 - robot.upright()) / 3

    def success(self, robot: WalkerRobot) -> np.ndarray:
        """Return (n,) bool: upside down, at the target pitch velocity and height."""
        flipping = (robot.pitch_velocity() >= self._PITCH_VELOCITY) & (robot.upright() < 0)
        return flipping & (robot.torso_height() >= self._HEIGHT)


TASKS = {
    "WalkerStand": WalkerStand,
    "WalkerWalk": WalkerWalk,
    "WalkerRun": WalkerRun,
    "WalkerFlip": WalkerFlip,
}
