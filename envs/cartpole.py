"""Cartpole: a cart on a rail with one free pole, after dm_control's Cartpole.

Action (1): horizontal force on the cart, in units of 10 N.
Observation (5): cart position / 1.8 m (1), cosine and sine of the pole's angle, 1 and 0 upright (2), cart velocity /
3 m/s (1), pole velocity / 8 rad/s (1).

| task | initial state | reward | success |
| --- | --- | --- | --- |
| CartPoleSwingUp | hanging | product of upright, centered, slow and small action | within 5.7 degrees and 25 cm |
| CartPoleBalance | within 2 degrees of upright | the same | the same |

Episodes have 500 steps (10 s) and do not terminate early.
"""

from __future__ import annotations

import math

import numpy as np

from .engine.task import Pose, Robot, Task, cached_per_step
from .shared.reward_shaping import tolerance

_RAIL = 1.8  # [m] from the center to either end
_CART_SPEED = 3.0  # [m/s] unit of the observed cart velocity, as in a fast swing
_POLE_SPEED = 8.0  # [rad/s] unit of the observed pole velocity


class CartPoleRobot(Robot):
    """The cart and its pole; 50 control steps per second."""

    model = "cartpole/cartpole.xml"
    substeps = 2  # of 0.01 s
    mass_groups = {"pole": ("pole",)}  # noqa: RUF012
    observation_limit = np.array([2, 1, 1, 10, 10], np.float64)

    def cart_position(self) -> np.ndarray:
        """Return (n,) [m] the cart position from the center of the rail."""
        return self.qpos[:, 0]

    @cached_per_step
    def upright(self) -> np.ndarray:
        """Return (n,) the cosine of the pole's angle: 1 upright, -1 hanging."""
        return np.cos(self.qpos[:, 1])

    def pole_velocity(self) -> np.ndarray:
        """Return (n,) [rad/s] the angular velocity of the pole."""
        return self.qvel[:, 1]

    def observation(self) -> np.ndarray:
        """Return the observation (n, 5)."""
        observation = np.empty((len(self.qpos), 5), like=self.qpos)
        np.divide(self.qpos[:, 0], _RAIL, out=observation[:, 0])
        observation[:, 1] = self.upright()
        np.sin(self.qpos[:, 1], out=observation[:, 2])
        np.divide(self.qvel, (_CART_SPEED, _POLE_SPEED), out=observation[:, 3:])
        return observation

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return poses (m, 2): cart position [m] and pole angle [rad]."""
        return np.stack([observation[:, 0] * _RAIL, np.arctan2(observation[:, 2], observation[:, 1])], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return cart position [m] and velocity [m/s], and the pole's angle and velocity [rad/s]."""
        return {
            "cart_position": self.qpos[:, :1].copy(),
            "cart_velocity": self.qvel[:, :1].copy(),
            "pole_angle_cos": np.cos(self.qpos[:, 1:]),
            "pole_angle_sin": np.sin(self.qpos[:, 1:]),
            "pole_velocity": self.qvel[:, 1:].copy(),
        }


class CartPoleSwingUp(Task[CartPoleRobot]):
    """Swing the hanging pole up and keep it upright over the center of the rail."""

    robot = CartPoleRobot
    max_episode_steps = 500  # 10 s

    _UPRIGHT = 0.995  # cosine of 5.7 degrees
    _CENTERED = 0.25  # [m]

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the pole hanging near the center, nearly at rest."""
        return random.normal([0.0, math.pi], 0.01), random.normal(0.0, 0.01, 2)

    def reward(self, robot: CartPoleRobot, action: np.ndarray) -> np.ndarray:
        """Return (n,) the product of four terms: upright, centered, slow pole, small action."""
        upright = (1 + robot.upright()) / 2
        centered = (1 + tolerance(robot.cart_position(), margin=2.0)) / 2
        slow = (1 + tolerance(robot.pole_velocity(), margin=5.0)) / 2
        small_action = (4 + tolerance(action[:, 0], margin=1.0)) / 5
        return upright * centered * slow * small_action

    def success(self, robot: CartPoleRobot) -> np.ndarray:
        """Return (n,) bool: the pole is within 5.7 degrees of upright, the cart within 25 cm of the center."""
        return (robot.upright() >= self._UPRIGHT) & (np.abs(robot.cart_position()) <= self._CENTERED)


class CartPoleBalance(CartPoleSwingUp):
    """Keep the nearly upright pole upright over the center of the rail."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the pole within 2 degrees of upright, near the center, nearly at rest."""
        return random.uniform([-0.1, -0.034], [0.1, 0.034]), random.normal(0.0, 0.01, 2)


TASKS = {"CartPoleSwingUp": CartPoleSwingUp, "CartPoleBalance": CartPoleBalance}
