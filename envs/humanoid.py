"""Humanoid: a human of 1.75 m with 21 joints, asked to stand up or to walk."""

from __future__ import annotations

from typing import Any

import numpy as np

from .engine.task import Pose
from .shared.legged import LeggedRobot, LeggedTask, Limb, Tip, leg_bound, standing_share
from .shared.reward_shaping import speed_reward

_HEAD = 0.37  # [m] from the torso's frame up to the middle of the head
_TALL = 1.5  # [m] head height from which it counts as standing; straight up it is 1.65 m
_MARGIN = 0.7  # [m] below that, where 0.1 of the reward is left
_UPRIGHT = 0.9  # cosine of 26 degrees

_TRUNK = (Limb(0, (0.0, 0.0, -0.2), "z"), Limb(1, (0.0, 0.0, 0.0), "-y"), Limb(2, (0.0, 0.0, 0.0), "x"))
_PELVIS = 3
_TRUNK_LIMITS = [[-45, 45], [-30, 75], [-35, 35]]  # [degrees]
_LEG_LIMITS = [[-25, 45], [-40, 45], [-25, 120], [0, 140], [-50, 25], [-20, 35]]
_ARM_LIMITS = [[-60, 180], [-20, 120], [0, 145]]


def _leg(first: int, side: int) -> tuple[Limb, ...]:
    """Hip (out, turned out, forward), knee, ankle (up, inward) of the leg on the left where `side` is 1."""
    out, inward = ("x", "-x") if side > 0 else ("-x", "x")
    return (
        Limb(_PELVIS, (0.0, side * 0.09, -0.15), out),
        Limb(first, (0.0, 0.0, 0.0), "z" if side > 0 else "-z"),
        Limb(first + 1, (0.0, 0.0, 0.0), "-y"),
        Limb(first + 2, (0.0, 0.0, -0.429), "y"),
        Limb(first + 3, (0.0, 0.0, -0.431), "-y"),
        Limb(first + 4, (0.0, 0.0, 0.0), inward),
    )


def _arm(first: int, side: int) -> tuple[Limb, ...]:
    """Shoulder (forward, out) and elbow."""
    return (
        Limb(0, (0.0, side * 0.21, 0.13), "-y"),
        Limb(first, (0.0, 0.0, 0.0), "x" if side > 0 else "-x"),
        Limb(first + 1, (0.0, side * 0.02, -0.326), "-y"),
    )


def _leg_tips(first: int, side: int) -> tuple[Tip, ...]:
    """Both ends of thigh and shin, then the outer and the inner heel and toes."""
    out, toe = side * 0.028, side * 0.034
    return (
        *(Tip(first + 2, (0.0, 0.0, z), 0.065) for z in (0.0, -0.429)),
        *(Tip(first + 3, (0.0, 0.0, z), 0.05) for z in (0.0, -0.431)),
        *(Tip(first + 5, place, 0.03) for place in ((-0.04, out, -0.038), (0.15, toe, -0.038))),
        *(Tip(first + 5, place, 0.03) for place in ((-0.04, -out, -0.038), (0.166, -out, -0.038))),
    )


def _arm_tips(first: int, side: int) -> tuple[Tip, ...]:
    """Both ends of upper arm and forearm, and the hand."""
    return (
        *(Tip(first + 1, (0.0, side * 0.02, z), 0.042) for z in (0.0, -0.326)),
        *(Tip(first + 2, (0.0, 0.0, z), 0.034) for z in (0.0, -0.256)),
        Tip(first + 2, (0.0, 0.0, -0.325), 0.048),
    )


_TRUNK_TIPS = (
    *(Tip(0, (0.0, y, 0.05), 0.11) for y in (-0.1, 0.1)),
    *(Tip(0, (0.0, y, -0.08), 0.1) for y in (-0.06, 0.06)),
    Tip(0, (0.0, 0.0, _HEAD), 0.1),
    *(Tip(2, (0.0, y, 0.0), 0.095) for y in (-0.055, 0.055)),
    *(Tip(_PELVIS, (0.0, y, -0.12), 0.1) for y in (-0.07, 0.07)),
)


class HumanoidRobot(LeggedRobot):
    """The humanoid: abdomen (turn, bend forward, aside), right leg, left leg, right arm, left arm.

    An action is a target for every joint, anywhere within its limits: muscles pull there as a spring with a
    damper, no stronger than an adult's. What blind play explores is postures, not twitches. Doing nothing is
    going limp into the middle of every joint's range, which is no posture to stand in.
    """

    model = "humanoid/humanoid.xml"
    substeps = 5  # of 0.005 s
    mass_groups = {  # noqa: RUF012
        "torso": ("torso",),
        "leg": tuple(f"{side}_{part}" for side in ("right", "left") for part in ("thigh", "shin", "foot")),
    }
    observation_limit = leg_bound(21)
    stature = 1.28
    limbs = (Limb(0, (0.0, 0.0, 0.0), "x"), *_TRUNK, *_leg(4, -1), *_leg(10, 1), *_arm(16, -1), *_arm(19, 1))
    tips = (*_TRUNK_TIPS, *_leg_tips(4, -1), *_leg_tips(10, 1), *_arm_tips(16, -1), *_arm_tips(19, 1))
    feet = ((13, 14, 15, 16), (21, 22, 23, 24))
    limits = np.radians([*_TRUNK_LIMITS, *_LEG_LIMITS, *_LEG_LIMITS, *_ARM_LIMITS, *_ARM_LIMITS])

    def head_height(self) -> np.ndarray:
        """(n,) [m] of the middle of the head above the floor."""
        return self.torso_height() + _HEAD * self.torso_upright()

    def standing(self) -> np.ndarray:
        """(n,) in [0, 1]: how much it stands."""
        return standing_share(self, self.head_height(), _TALL, _MARGIN)

    def stands(self) -> np.ndarray:
        """(n,) bool: the head is up high and the torso upright."""
        return (self.head_height() >= _TALL) & (self.torso_upright() >= _UPRIGHT)


_BOWED = 0.85  # [rad] of the torso in a squat, and
_LEG = np.radians([5.0, 0.0, 98.0, 95.0, 23.0, 0.0])  # of its joints, the weight above the feet
_ARM = np.radians([80.0, 5.0, 10.0])
_SQUATTING = np.concatenate([np.radians([0.0, 15.0, 0.0]), _LEG, _LEG, _ARM, _ARM])


class _HumanoidTask(LeggedTask):
    robot = HumanoidRobot
    max_episode_steps = 400  # 10 s


class HumanoidStand(_HumanoidTask):
    """Rise from a squat and stand: the torso upright, the head at 1.5 m or above."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Squatting, every joint a little off, pushed any way."""
        joints = _SQUATTING + random.uniform(-0.05, 0.05, 21)
        low, high = self.robot.limits.T
        roll, pitch = random.normal(0.0, 0.05), _BOWED + random.normal(0.0, 0.05)
        qpos, qvel = self._tumbled(roll, pitch, np.minimum(np.maximum(joints, low), high))
        qvel[:6] = random.normal(0.0, 0.1, 6)
        return qpos, qvel

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """How much it stands."""
        return robot.standing()

    def success(self, robot: Any) -> np.ndarray:
        """It stands."""
        return robot.stands()


class HumanoidWalk(_HumanoidTask):
    """Walk the way it faces at 1 m/s, upright."""

    _SPEED = 1.0  # [m/s]

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing, every joint a little off, nearly still."""
        return self._leaning(random, random.uniform(-0.05, 0.05, 21), lean=0.05, push=0.05)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """Standing is worth a sixth, the speed the rest."""
        return robot.standing() * (1 + 5 * speed_reward(robot.speed(), self._SPEED)) / 6

    def success(self, robot: Any) -> np.ndarray:
        """It stands, and moves at the wished speed."""
        return robot.stands() & (robot.speed() >= self._SPEED)


TASKS = {"HumanoidStand": HumanoidStand, "HumanoidWalk": HumanoidWalk}
