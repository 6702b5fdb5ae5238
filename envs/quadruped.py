"""Quadruped: a dog of the size of a Unitree Go1, asked to stand up, walk, run or jump."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine.task import Pose
from .shared.legged import LeggedRobot, LeggedTask, Limb, Tip, leg_bound, standing_share
from .shared.reward_shaping import speed_reward

_TALL = 0.28  # [m] trunk height from which it counts as standing; a Go1 stands at 0.3 m
_MARGIN = 0.12  # [m] below that, where 0.1 of the reward is left: lying, at 0.06 m, pays 0.03
_UPRIGHT = 0.9  # cosine of 26 degrees
_STANDING = np.array([0.0, 0.76, -1.52] * 4)  # [rad] hip, thigh and calf, the feet below the hips


def _leg(first: int, x: float, side: int) -> tuple[Limb, Limb, Limb]:
    """Hip, thigh and calf; the hip is limb `first`, `x` [m] before the middle, on the left where `side` is 1."""
    hip, thigh = Limb(0, (x, side * 0.04675, 0.0), "x"), Limb(first, (0.0, side * 0.08, 0.0), "y")
    return hip, thigh, Limb(first + 1, (0.0, 0.0, -0.213), "y")


def _leg_tips(first: int) -> tuple[Tip, ...]:
    """Both ends of the shoulder, both ends of the thigh, and the foot; the hip is limb `first`."""
    shoulder = [Tip(first + 1, (0.0, y, 0.0), 0.041) for y in (-0.016, 0.016)]
    thigh = [Tip(first + 1, (0.0, 0.0, z), 0.022) for z in (0.0, -0.213)]
    return (*shoulder, *thigh, Tip(first + 2, (0.0, 0.0, -0.213), 0.02))


def _trunk_tips() -> tuple[Tip, ...]:
    """The corners of the trunk, and both cheeks."""
    corners = [
        Tip(0, (x, y, z)) for x in (-0.1881, 0.1881) for y in (-0.0468, 0.0468) for z in (-0.057, 0.057)
    ]
    return (*corners, *(Tip(0, (0.235, y, 0.01), 0.045) for y in (-0.03, 0.03)))


class QuadrupedRobot(LeggedRobot):
    """The dog: front right, front left, rear right and rear left leg, each with hip, thigh and calf.

    An action is a target for every joint, around a low crouch: its servo pulls there as a spring with a damper,
    no stronger than the motor. That is how such machines are driven, and what blind play explores is postures,
    not twitches. Doing nothing is crouching at 0.2 m.
    """

    model = "quadruped/quadruped.xml"
    substeps = 4  # of 0.005 s
    mass_groups = {  # noqa: RUF012
        "trunk": ("trunk",),
        "calf": tuple(f"{end}_{side}_calf" for end in ("front", "rear") for side in ("right", "left")),
    }
    observation_limit = leg_bound(12)
    stature = 0.3
    limbs = (
        Limb(0, (0.0, 0.0, 0.0), "x"),
        *_leg(1, 0.1881, -1),
        *_leg(4, 0.1881, 1),
        *_leg(7, -0.1881, -1),
        *_leg(10, -0.1881, 1),
    )
    tips = (*_trunk_tips(), *_leg_tips(1), *_leg_tips(4), *_leg_tips(7), *_leg_tips(10))
    feet = ((14,), (19,), (24,), (29,))
    limits = np.array([[-0.863, 0.863], [-0.686, 4.501], [-2.818, -0.888]] * 4)

    def standing(self) -> np.ndarray:
        """(n,) in [0, 1]: how much it stands."""
        return standing_share(self, self.torso_height(), _TALL, _MARGIN)

    def stands(self) -> np.ndarray:
        """(n,) bool: the trunk is up high and upright."""
        return (self.torso_height() >= _TALL) & (self.torso_upright() >= _UPRIGHT)


class _QuadrupedTask(LeggedTask):
    robot = QuadrupedRobot
    max_episode_steps = 500  # 10 s

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing, every joint a little off, nearly still."""
        return self._leaning(random, _STANDING + random.uniform(-0.1, 0.1, 12), lean=0.05, push=0.05)


class QuadrupedStand(_QuadrupedTask):
    """Get up from anywhere and stand: the trunk upright at 0.28 m or above."""

    _LOW = np.array([-0.4, 0.0, -2.7] * 4)  # [rad] between these
    _HIGH = np.array([0.4, 2.2, -1.9] * 4)  # [rad] legs lie about folded, without passing through each other

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Let go over the floor, rolled to either side by up to 70 degrees, with its legs anyhow."""
        roll, pitch = random.uniform(-1.2, 1.2), random.uniform(-0.5, 0.5)
        return self._tumbled(roll, pitch, random.uniform(self._LOW, self._HIGH))

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """How much it stands."""
        return robot.standing()

    def success(self, robot: Any) -> np.ndarray:
        """It stands."""
        return robot.stands()


class QuadrupedWalk(_QuadrupedTask):
    """Walk the way it faces at 1 m/s, upright."""

    _SPEED = 1.0  # [m/s]

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """Standing is worth a sixth, the speed the rest."""
        return robot.standing() * (1 + 5 * speed_reward(robot.speed(), self._SPEED)) / 6

    def success(self, robot: Any) -> np.ndarray:
        """It stands, and moves at the wished speed."""
        return robot.stands() & (robot.speed() >= self._SPEED)


class QuadrupedRun(QuadrupedWalk):
    """Run the way it faces at 3 m/s, upright."""

    _SPEED = 3.0  # [m/s]


class QuadrupedJump(_QuadrupedTask):
    """Jump again and again: the trunk upright at 0.6 m or above."""

    _HIGH = 0.6  # [m] twice as high as it stands

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """How high it is above where it stands."""
        rise = speed_reward(robot.torso_height() - robot.stature, self._HIGH - robot.stature)
        return rise * (1 + robot.torso_upright()) / 2

    def success(self, robot: Any) -> np.ndarray:
        """It is up there, upright."""
        return (robot.torso_height() >= self._HIGH) & (robot.torso_upright() >= _UPRIGHT)


TASKS = {
    "QuadrupedStand": QuadrupedStand,
    "QuadrupedWalk": QuadrupedWalk,
    "QuadrupedRun": QuadrupedRun,
    "QuadrupedJump": QuadrupedJump,
}
