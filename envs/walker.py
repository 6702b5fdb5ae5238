"""Walker: a planar biped with a torso on two legs, asked to stand up, walk, run or turn somersaults."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine.task import Pose
from .shared.planar import Limb, PlanarTask, Tip, runner_bound
from .shared.reward_shaping import speed_reward, tolerance
from .shared.stand_and_forward import ForwardTask, StandingRobot, StandTask


def _leg_limbs(first: int) -> tuple[Limb, Limb, Limb]:
    """Thigh, shin and foot; the thigh is limb `first`."""
    return Limb(0, (0.0, -0.3)), Limb(first, (0.0, -0.45)), Limb(first + 1, (0.0, -0.5))


def _leg_tips(first: int) -> tuple[Tip, ...]:
    """Hip, both sides of the knee, ankle, heel and toes."""
    return (
        Tip(first, 0.0, 0.0, 0.05),
        Tip(first, 0.0, -0.45, 0.05),
        Tip(first + 1, 0.0, 0.0, 0.04),
        Tip(first + 1, 0.0, -0.5, 0.04),
        Tip(first + 2, -0.05, 0.0, 0.05),
        Tip(first + 2, 0.15, 0.0, 0.05),
    )


class WalkerRobot(StandingRobot):
    """The walker: right leg, then left leg, each with hip, knee and ankle."""

    model = "walker/walker.xml"
    substeps = 8  # of 0.005 s
    observation_limit = runner_bound(6)
    stature = 1.3
    tall = 1.2  # with straight legs it is 1.3 m
    crouch = 0.6
    limbs = (Limb(0, (0.0, 0.0)), *_leg_limbs(1), *_leg_limbs(4))
    tips = (Tip(0, 0.0, -0.3, 0.07), Tip(0, 0.0, 0.3, 0.07), *_leg_tips(1), *_leg_tips(4))
    feet = ((6, 7), (12, 13))
    limits = np.radians([[-20, 100], [-150, 0], [-45, 45]] * 2)


class WalkerStand(StandTask):
    """Get up from anywhere and stand: the torso upright at 1.2 m or above."""

    robot = WalkerRobot


class WalkerWalk(ForwardTask):
    """Walk forward at 1 m/s, upright."""

    robot = WalkerRobot
    speed = 1.0


class WalkerRun(WalkerWalk):
    """Run forward at 8 m/s, upright."""

    speed = 8.0


class WalkerFlip(PlanarTask):
    """Turn over forward again and again, at 5 rad/s: a somersault every 1.3 s."""

    robot = WalkerRobot
    _SPIN = 5.0  # [rad/s]
    _CLEAR = 0.6  # [m] torso height at which it may turn without the head on the floor, and
    _MARGIN = 0.4  # [m] below that, where 0.1 is left: rolling on the floor pays little

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing."""
        return self.standing(random)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """The share of the wished spin, clear of the floor; upside down counts thrice, lest bowing to and fro pay."""
        clear = tolerance(robot.torso_height(), self._CLEAR, np.inf, self._MARGIN)
        return speed_reward(robot.spin(), self._SPIN) * clear * (2 - robot.upright()) / 3

    def success(self, robot: Any) -> np.ndarray:
        """The wished spin, upside down, clear of the floor."""
        turns = (robot.spin() >= self._SPIN) & (robot.upright() < 0)
        return turns & (robot.torso_height() >= self._CLEAR)


TASKS = {
    "WalkerStand": WalkerStand,
    "WalkerWalk": WalkerWalk,
    "WalkerRun": WalkerRun,
    "WalkerFlip": WalkerFlip,
}
