"""Hopper: a planar one-legged robot with a torso on a pelvis, asked to stand up or to hop."""

from __future__ import annotations

import numpy as np

from .shared.planar import Limb, Tip, runner_bound
from .shared.stand_and_forward import ForwardTask, StandingRobot, StandTask


class HopperRobot(StandingRobot):
    """The hopper: waist, hip, knee and ankle; its torso's height is that of the waist."""

    model = "hopper/hopper.xml"
    substeps = 8  # of 0.005 s
    observation_limit = runner_bound(4)
    stature = 0.84
    tall = 0.6  # with a straight leg it is 0.84 m
    crouch = 0.4
    limbs = (
        Limb(0, (0.0, 0.0)),
        Limb(0, (0.0, 0.0)),  # pelvis
        Limb(1, (0.0, -0.15)),  # thigh
        Limb(2, (0.0, -0.33)),  # shin
        Limb(3, (0.0, -0.32)),  # foot
    )
    tips = (
        Tip(0, 0.0, 0.0, 0.065),
        Tip(0, 0.0, 0.25, 0.065),
        Tip(1, 0.0, 0.0, 0.06),
        Tip(1, 0.0, -0.15, 0.06),
        Tip(2, 0.0, 0.0, 0.04),
        Tip(2, 0.0, -0.33, 0.04),
        Tip(3, 0.0, 0.0, 0.03),
        Tip(3, 0.0, -0.32, 0.03),
        Tip(4, -0.08, 0.0, 0.04),
        Tip(4, 0.17, 0.0, 0.04),
    )
    feet = ((8, 9),)
    limits = np.radians([[-50, 50], [-10, 120], [-150, 0], [-45, 45]])


class HopperStand(StandTask):
    """Get up from anywhere and stand: the torso upright, the waist at 0.6 m or above."""

    robot = HopperRobot


class HopperHop(ForwardTask):
    """Hop forward at 2 m/s, upright."""

    robot = HopperRobot
    speed = 2.0


TASKS = {"HopperStand": HopperStand, "HopperHop": HopperHop}
