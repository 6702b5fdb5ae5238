"""Hopper: a planar one-legged robot of torso, pelvis, thigh, shin and foot, after dm_control's Hopper.

Action (4): torques of waist, hip, knee and ankle, as fractions of the maximum.
Observation (14): see `PlanarRobot`; the torso's height is that of the waist, in units of 0.84 m.

| task | reward | success |
| --- | --- | --- |
| HopperStand | upright with the waist at 0.6 m or above | the same, tilted by no more than 26 degrees |
| HopperHop | standing, and forward speed up to 2 m/s | standing at 2 m/s or faster |

Episodes have 250 steps (10 s) and do not terminate early. HopperStand starts lying at a random pitch.
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
from .shared.standing import ForwardTask, StandingRobot, StandTask


class HopperRobot(StandingRobot, PlanarRobot):
    """The hopper; joints: waist, hip, knee, ankle."""

    model = "hopper/hopper.xml"
    substeps = 8  # of 0.005 s
    observation_limit = planar_observation_limit(4)
    standing_height = 0.84
    stand_height = 0.6  # 0.84 m with a straight leg
    stand_margin = 0.4
    links = (
        PlanarLink(0, (0.0, 0.0)),
        PlanarLink(0, (0.0, 0.0)),  # pelvis
        PlanarLink(1, (0.0, -0.15)),  # thigh
        PlanarLink(2, (0.0, -0.33)),  # shin
        PlanarLink(3, (0.0, -0.32)),  # foot
    )
    contact_points = (
        PlanarContactPoint(0, 0.0, 0.0, 0.065),
        PlanarContactPoint(0, 0.0, 0.25, 0.065),
        PlanarContactPoint(1, 0.0, 0.0, 0.06),
        PlanarContactPoint(1, 0.0, -0.15, 0.06),
        PlanarContactPoint(2, 0.0, 0.0, 0.04),
        PlanarContactPoint(2, 0.0, -0.33, 0.04),
        PlanarContactPoint(3, 0.0, 0.0, 0.03),
        PlanarContactPoint(3, 0.0, -0.32, 0.03),
        PlanarContactPoint(4, -0.08, 0.0, 0.04),
        PlanarContactPoint(4, 0.17, 0.0, 0.04),
    )
    feet = ((8, 9),)
    joint_limits = np.radians([[-50, 50], [-10, 120], [-150, 0], [-45, 45]])


class HopperStand(StandTask[HopperRobot], PlanarFallenTask[HopperRobot]):
    """Get up from any pose and stand with the waist at 0.6 m or above."""

    robot = HopperRobot


class HopperHop(ForwardTask[HopperRobot], PlanarTask[HopperRobot]):
    """Hop forward at 2 m/s, upright."""

    robot = HopperRobot
    target_speed = 2.0


TASKS = {"HopperStand": HopperStand, "HopperHop": HopperHop}
