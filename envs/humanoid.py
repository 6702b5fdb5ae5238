"""Humanoid: a human of 1.75 m and 75 kg with 21 joints.

Action (21): position targets of all joints, -1 and 1 at the joint limits. Order: abdomen (turn, bend forward, bend
aside), right and left leg (hip: abduct, turn, forward; knee; ankle: up, inward), right and left arm (shoulder:
forward, abduct; elbow). The zero action is the middle of every joint's range, in which the humanoid does not stand.
Observation (52): see `LeggedRobot`; the torso's height is in units of 1.28 m.

| task | reward | success |
| --- | --- | --- |
| HumanoidStand | upright with the head at 1.5 m or above | the same, tilted by no more than 26 degrees |
| HumanoidWalk | standing, and forward speed up to 1 m/s | standing at 1 m/s or faster |

Episodes have 400 steps (10 s) and do not terminate early. HumanoidStand starts in a squat.
"""

from __future__ import annotations

import numpy as np

from .engine.task import Pose
from .shared.legged import (
    LeggedRobot,
    LeggedTask,
    SpatialContactPoint,
    SpatialLink,
    legged_observation_limit,
)
from .shared.standing import ForwardTask, StandTask

_HEAD = 0.37  # [m] from the torso's frame up to the center of the head

_ABDOMEN = (
    SpatialLink(0, (0.0, 0.0, -0.2), "z"),
    SpatialLink(1, (0.0, 0.0, 0.0), "-y"),
    SpatialLink(2, (0.0, 0.0, 0.0), "x"),
)
_PELVIS = 3
_ABDOMEN_LIMITS = [[-45, 45], [-30, 75], [-35, 35]]  # [degrees]
_LEG_LIMITS = [[-25, 45], [-40, 45], [-25, 120], [0, 140], [-50, 25], [-20, 35]]
_ARM_LIMITS = [[-60, 180], [-20, 120], [0, 145]]


def _leg_links(first: int, side: int) -> tuple[SpatialLink, ...]:
    """Return hip (abduct, turn, forward), knee and ankle (up, inward); `side` is 1 for the left leg, else -1."""
    outward, inward = ("x", "-x") if side > 0 else ("-x", "x")
    return (
        SpatialLink(_PELVIS, (0.0, side * 0.09, -0.15), outward),
        SpatialLink(first, (0.0, 0.0, 0.0), "z" if side > 0 else "-z"),
        SpatialLink(first + 1, (0.0, 0.0, 0.0), "-y"),
        SpatialLink(first + 2, (0.0, 0.0, -0.429), "y"),
        SpatialLink(first + 3, (0.0, 0.0, -0.431), "-y"),
        SpatialLink(first + 4, (0.0, 0.0, 0.0), inward),
    )


def _arm_links(first: int, side: int) -> tuple[SpatialLink, ...]:
    """Return shoulder (forward, abduct) and elbow."""
    return (
        SpatialLink(0, (0.0, side * 0.21, 0.13), "-y"),
        SpatialLink(first, (0.0, 0.0, 0.0), "x" if side > 0 else "-x"),
        SpatialLink(first + 1, (0.0, side * 0.02, -0.326), "-y"),
    )


def _leg_contact_points(first: int, side: int) -> tuple[SpatialContactPoint, ...]:
    """Return both ends of thigh and shin, then the outer and the inner heel and toes."""
    point, heel_y, toe_y = SpatialContactPoint, side * 0.028, side * 0.034
    return (
        *(point(first + 2, (0.0, 0.0, z), 0.065) for z in (0.0, -0.429)),
        *(point(first + 3, (0.0, 0.0, z), 0.05) for z in (0.0, -0.431)),
        *(point(first + 5, position, 0.03) for position in ((-0.04, heel_y, -0.038), (0.15, toe_y, -0.038))),
        *(
            point(first + 5, position, 0.03)
            for position in ((-0.04, -heel_y, -0.038), (0.166, -heel_y, -0.038))
        ),
    )


def _arm_contact_points(first: int, side: int) -> tuple[SpatialContactPoint, ...]:
    """Return both ends of upper arm and forearm, and the hand."""
    return (
        *(SpatialContactPoint(first + 1, (0.0, side * 0.02, z), 0.042) for z in (0.0, -0.326)),
        *(SpatialContactPoint(first + 2, (0.0, 0.0, z), 0.034) for z in (0.0, -0.256)),
        SpatialContactPoint(first + 2, (0.0, 0.0, -0.325), 0.048),
    )


_TORSO_CONTACT_POINTS = (  # shoulders, chest, head, waist, pelvis
    *(SpatialContactPoint(0, (0.0, y, 0.05), 0.11) for y in (-0.1, 0.1)),
    *(SpatialContactPoint(0, (0.0, y, -0.08), 0.1) for y in (-0.06, 0.06)),
    SpatialContactPoint(0, (0.0, 0.0, _HEAD), 0.1),
    *(SpatialContactPoint(2, (0.0, y, 0.0), 0.095) for y in (-0.055, 0.055)),
    *(SpatialContactPoint(_PELVIS, (0.0, y, -0.12), 0.1) for y in (-0.07, 0.07)),
)


class HumanoidRobot(LeggedRobot):
    """The humanoid; joints: abdomen, right leg, left leg, right arm, left arm.

    Each joint has a position servo: a spring and a damper, limited to the strength of an adult. Random actions
    explore postures.
    """

    model = "humanoid/humanoid.xml"
    substeps = 5  # of 0.005 s
    mass_groups = {  # noqa: RUF012
        "torso": ("torso",),
        "leg": tuple(f"{side}_{part}" for side in ("right", "left") for part in ("thigh", "shin", "foot")),
    }
    observation_limit = legged_observation_limit(21)
    standing_height = 1.28
    stand_height = 1.5  # of the head; 1.65 m with straight legs
    stand_margin = 0.7
    links = (
        SpatialLink(0, (0.0, 0.0, 0.0), "x"),
        *_ABDOMEN,
        *_leg_links(4, -1),
        *_leg_links(10, 1),
        *_arm_links(16, -1),
        *_arm_links(19, 1),
    )
    contact_points = (
        *_TORSO_CONTACT_POINTS,
        *_leg_contact_points(4, -1),
        *_leg_contact_points(10, 1),
        *_arm_contact_points(16, -1),
        *_arm_contact_points(19, 1),
    )
    feet = ((13, 14, 15, 16), (21, 22, 23, 24))
    joint_limits = np.radians([*_ABDOMEN_LIMITS, *_LEG_LIMITS, *_LEG_LIMITS, *_ARM_LIMITS, *_ARM_LIMITS])

    def head_height(self) -> np.ndarray:
        """Return (n,) [m] the height of the center of the head above the floor."""
        return self.torso_height() + _HEAD * self.upright()

    def measured_height(self) -> np.ndarray:
        """Return (n,) [m] the height of the head, which is compared with `stand_height`."""
        return self.head_height()


_SQUAT_PITCH = 0.85  # [rad] of the torso in a squat
_SQUAT_LEG = np.radians([5.0, 0.0, 98.0, 95.0, 23.0, 0.0])  # with the center of mass above the feet
_SQUAT_ARM = np.radians([80.0, 5.0, 10.0])
_SQUAT_JOINTS = np.concatenate([np.radians([0.0, 15.0, 0.0]), _SQUAT_LEG, _SQUAT_LEG, _SQUAT_ARM, _SQUAT_ARM])


class _HumanoidTask(LeggedTask[HumanoidRobot]):
    robot = HumanoidRobot
    max_episode_steps = 400  # 10 s


class HumanoidStand(StandTask[HumanoidRobot], _HumanoidTask):
    """Rise from a squat and stand with the head at 1.5 m or above."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a squat with small random joint angles and a random push of the torso."""
        joints = _SQUAT_JOINTS + random.uniform(-0.05, 0.05, 21)
        low, high = self.robot.joint_limits.T
        roll, pitch = random.normal(0.0, 0.05), _SQUAT_PITCH + random.normal(0.0, 0.05)
        qpos, qvel = self._tilted_state(roll, pitch, np.minimum(np.maximum(joints, low), high))
        qvel[:6] = random.normal(0.0, 0.1, 6)
        return qpos, qvel


class HumanoidWalk(ForwardTask[HumanoidRobot], _HumanoidTask):
    """Walk in the direction it faces at 1 m/s, upright."""

    target_speed = 1.0

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the humanoid standing, with small random joint angles and velocities."""
        return self._sample_upright_state(random, random.uniform(-0.05, 0.05, 21), tilt=0.05, speed=0.05)


TASKS = {"HumanoidStand": HumanoidStand, "HumanoidWalk": HumanoidWalk}
