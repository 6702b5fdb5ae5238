"""Robots on a floor: foot contacts, how upright they stand, and the tasks Stand and Forward."""

from __future__ import annotations

from abc import abstractmethod
from functools import reduce
from typing import ClassVar, TypeVar

import numpy as np

from ..engine.task import Robot, Task
from .reward_shaping import speed_reward, tolerance

_FOOT_CONTACT = 2e-3  # [m] clearance below which a foot counts as in contact
UPRIGHT = 0.9  # cosine of 26 degrees, the largest tilt of a standing robot


class FloorContactRobot(Robot):
    """A robot with contact points that may touch the floor; some of them are feet."""

    feet: ClassVar[tuple[tuple[int, ...], ...]]  # indices of the contact points of each foot

    @classmethod
    @abstractmethod
    def floor_clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """Return (m, contact points) [m] between each contact point and the floor, for poses (m, nq)."""

    @classmethod
    def foot_contacts(cls, qpos: np.ndarray) -> np.ndarray:
        """Return (m, feet) 1 where a foot touches the floor, else 0, for poses (m, nq)."""
        gap = cls.floor_clearance(qpos)
        foot_gap = [reduce(np.minimum, [gap[:, point] for point in foot]) for foot in cls.feet]
        return (np.stack(foot_gap, axis=1) <= _FOOT_CONTACT).astype(np.float64)

    @abstractmethod
    def torso_height(self) -> np.ndarray:
        """Return (n,) [m] the height of the torso above the floor."""

    @abstractmethod
    def upright(self) -> np.ndarray:
        """Return (n,) the cosine of the torso's tilt: 1 upright, -1 upside down."""

    @abstractmethod
    def speed(self) -> np.ndarray:
        """Return (n,) [m/s] the forward speed of the torso."""


class StandingRobot(FloorContactRobot):
    """A robot that can stand: its torso is upright and its measured height above a threshold."""

    stand_height: ClassVar[float]  # [m] from which on the robot counts as standing
    stand_margin: ClassVar[float]  # [m] below `stand_height`, at which the height factor is 0.1

    def measured_height(self) -> np.ndarray:
        """Return (n,) [m] the height compared with `stand_height`: that of the torso."""
        return self.torso_height()

    def standing_reward(self) -> np.ndarray:
        """Return (n,) in [0, 1]: 1 upright at `stand_height` or above, falling with height and tilt."""
        high = tolerance(self.measured_height(), self.stand_height, np.inf, self.stand_margin)
        return high * (1 + self.upright()) / 2

    def is_standing(self) -> np.ndarray:
        """Return (n,) bool: the robot is at `stand_height` or above and tilted by no more than 26 degrees."""
        return (self.measured_height() >= self.stand_height) & (self.upright() >= UPRIGHT)


StandingRobotT = TypeVar("StandingRobotT", bound=StandingRobot)


class StandTask(Task[StandingRobotT]):
    """Task to stand upright. Reward: `standing_reward`; success: `is_standing`."""

    def reward(self, robot: StandingRobotT, action: np.ndarray) -> np.ndarray:
        """Return (n,) the standing reward."""
        return robot.standing_reward()

    def success(self, robot: StandingRobotT) -> np.ndarray:
        """Return (n,) bool: the robot stands."""
        return robot.is_standing()


class ForwardTask(Task[StandingRobotT]):
    """Task to move forward at `target_speed` while standing.

    Reward: `standing_reward` times (1 + 5 `speed_reward`) / 6. Success: standing at `target_speed` or faster.
    """

    target_speed: ClassVar[float]  # [m/s]

    def reward(self, robot: StandingRobotT, action: np.ndarray) -> np.ndarray:
        """Return (n,): one sixth for standing, the rest for the speed."""
        return robot.standing_reward() * (1 + 5 * speed_reward(robot.speed(), self.target_speed)) / 6

    def success(self, robot: StandingRobotT) -> np.ndarray:
        """Return (n,) bool: the robot stands and is at least as fast as `target_speed`."""
        return robot.is_standing() & (robot.speed() >= self.target_speed)
