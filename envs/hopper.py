"""Hopper: a planar one-legged robot with a torso on a pelvis, asked to stand up or to hop."""

from __future__ import annotations

from typing import Any

import numpy as np

from .planar import Limb, PlanarRunner, RunnerTask, Tip, runner_bound, standing_share
from .shaping import pace
from .task import Pose

_TALL = 0.6  # [m] waist height from which it counts as standing; with a straight leg it is 0.84 m
_MARGIN = 0.4  # [m] below that, where 0.1 of the reward is left
_UPRIGHT = 0.9  # cosine of 26 degrees


class HopperBody(PlanarRunner):
    """The hopper: waist, hip, knee and ankle; its torso's height is that of the waist."""

    model = "hopper/hopper.xml"
    substeps = 8  # of 0.005 s
    observation_bound = runner_bound(4)
    stature = 0.84
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

    def standing(self) -> np.ndarray:
        """(n,) in [0, 1]: how much it stands."""
        return standing_share(self, _TALL, _MARGIN)

    def stands(self) -> np.ndarray:
        """(n,) bool: the torso is up high and upright."""
        return (self.torso_height() >= _TALL) & (self.upright() >= _UPRIGHT)


class HopperStand(RunnerTask):
    """Get up from anywhere and stand: the torso upright, the waist at 0.6 m or above."""

    body = HopperBody

    def start(self, random: np.random.Generator) -> Pose:
        """Dropped on the floor any way round."""
        return self.fallen(random)

    def reward(self, body: Any, action: np.ndarray) -> np.ndarray:
        """How much it stands."""
        return body.standing()

    def success(self, body: Any) -> np.ndarray:
        """It stands."""
        return body.stands()


class HopperHop(RunnerTask):
    """Hop forward at 2 m/s, upright."""

    body = HopperBody
    _SPEED = 2.0  # [m/s]

    def start(self, random: np.random.Generator) -> Pose:
        """Standing."""
        return self.standing(random)

    def reward(self, body: Any, action: np.ndarray) -> np.ndarray:
        """Standing is worth a sixth, the speed the rest."""
        return body.standing() * (1 + 5 * pace(body.speed(), self._SPEED)) / 6

    def success(self, body: Any) -> np.ndarray:
        """It stands, and moves at the wished speed."""
        return body.stands() & (body.speed() >= self._SPEED)


TASKS = {"HopperStand": HopperStand, "HopperHop": HopperHop}
