"""Planar runners that can stand up, and what hopper and walker are both asked for: to stand, and to go forward."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..engine.task import Pose
from .planar import PlanarRobot, PlanarTask
from .reward_shaping import speed_reward, tolerance

_UPRIGHT = 0.9  # cosine of 26 degrees


class StandingRobot(PlanarRobot):
    """A runner whose torso can be up high, or not."""

    tall: ClassVar[float]  # [m] height of the torso from which it counts as standing
    crouch: ClassVar[float]  # [m] below that, where 0.1 of the reward is left

    def standing(self) -> np.ndarray:
        """(n,) in [0, 1]: how much it stands: the torso upright and high."""
        return tolerance(self.torso_height(), self.tall, np.inf, self.crouch) * (1 + self.upright()) / 2

    def stands(self) -> np.ndarray:
        """(n,) bool: the torso is up high and upright."""
        return (self.torso_height() >= self.tall) & (self.upright() >= _UPRIGHT)


class StandTask(PlanarTask):
    """Get up from anywhere and stand."""

    robot: ClassVar[type[StandingRobot]]

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Dropped on the floor any way round."""
        return self.fallen(random)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """How much it stands."""
        return robot.standing()

    def success(self, robot: Any) -> np.ndarray:
        """It stands."""
        return robot.stands()


class ForwardTask(PlanarTask):
    """Move forward at `speed`, upright."""

    robot: ClassVar[type[StandingRobot]]
    speed: ClassVar[float]  # [m/s]

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing."""
        return self.standing(random)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """Standing is worth a sixth, the speed the rest."""
        return robot.standing() * (1 + 5 * speed_reward(robot.speed(), self.speed)) / 6

    def success(self, robot: Any) -> np.ndarray:
        """It stands, and moves at the wished speed."""
        return robot.stands() & (robot.speed() >= self.speed)
