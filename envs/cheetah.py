"""Cheetah: a planar runner with a long back and two three-jointed legs, asked to run forward or backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine.task import Pose
from .shared.planar import Limb, PlanarRobot, PlanarTask, Tip, runner_bound
from .shared.reward_shaping import as_scalar_array, speed_reward

_RADIUS = 0.046  # [m] of every limb
_ZERO, _ONE, _TWO = as_scalar_array(0.0), as_scalar_array(1.0), as_scalar_array(2.0)


class CheetahRobot(PlanarRobot):
    """The cheetah: back and front leg, each with hip, knee and ankle."""

    model = "cheetah/cheetah.xml"
    substeps = 4  # of 0.01 s
    observation_limit = runner_bound(6)
    stature = 0.626
    limbs = (
        Limb(0, (0.0, 0.0)),
        Limb(0, (-0.5, 0.0)),  # back thigh
        Limb(1, (0.17, -0.25)),  # back shin
        Limb(2, (-0.26, -0.15)),  # back foot
        Limb(0, (0.5, 0.0)),  # front thigh
        Limb(4, (-0.14, -0.24)),  # front shin
        Limb(5, (0.14, -0.20)),  # front foot
    )
    tips = (
        Tip(0, -0.5, 0.0, _RADIUS),
        Tip(0, 0.5, 0.0, _RADIUS),
        Tip(0, 0.72, 0.18, _RADIUS),  # the nose
        Tip(1, 0.17, -0.25, _RADIUS),
        Tip(2, -0.26, -0.15, _RADIUS),
        Tip(3, 0.05, -0.18, _RADIUS),  # back toes
        Tip(4, -0.14, -0.24, _RADIUS),
        Tip(5, 0.14, -0.20, _RADIUS),
        Tip(6, 0.08, -0.14, _RADIUS),  # front toes
    )
    feet = ((4, 5), (7, 8))
    limits = np.radians([[-60, 30], [-45, 45], [-45, 25], [-40, 60], [-50, 70], [-30, 30]])


class CheetahRun(PlanarTask):
    """Run forward at 10 m/s, the back upward."""

    robot = CheetahRobot
    _SPEED = 10.0  # [m/s]
    _DIRECTION = 1.0

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing."""
        return self.standing(random)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """The share of the wished speed, less so the farther from upright."""
        share = speed_reward(self._forward(robot), self._SPEED)
        share *= _ONE + robot.upright()
        share /= _TWO
        return share

    def success(self, robot: Any) -> np.ndarray:
        """The wished speed, not upside down."""
        return (self._forward(robot) >= as_scalar_array(self._SPEED)) & (robot.upright() > _ZERO)

    def _forward(self, robot: Any) -> np.ndarray:
        """(n,) [m/s] in the wished direction."""
        return as_scalar_array(self._DIRECTION) * robot.speed()


class CheetahBackward(CheetahRun):
    """Run backward at 6 m/s, the back upward."""

    _SPEED = 6.0  # [m/s]
    _DIRECTION = -1.0


TASKS = {"CheetahRun": CheetahRun, "CheetahBackward": CheetahBackward}
