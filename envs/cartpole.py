"""Cartpole: a cart on a rail with one pole, asked to swing it up or to keep it upright."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .engine.task import Pose, Robot, Task, cached_per_step
from .shared.reward_shaping import tolerance

_RAIL = 1.8  # [m] from the middle to either end
_CART_SPEED = 3.0  # [m/s] and
_POLE_SPEED = 8.0  # [rad/s]: speeds of a vigorous swing, to bring velocities to unit scale


class Cartpole(Robot):
    """The cart and its pole; 50 control steps a second.

    Observation (5): cart / 1.8 m, cosine and sine of the pole's angle (upright: 1, 0), cart velocity / 3 m/s,
    pole velocity / 8 rad/s.
    """

    model = "cartpole/cartpole.xml"
    substeps = 2  # of 0.01 s
    mass_groups = {"pole": ("pole",)}  # noqa: RUF012
    observation_limit = np.array([2, 1, 1, 10, 10], np.float64)

    def cart_position(self) -> np.ndarray:
        """(n,) [m] from the middle of the rail."""
        return self.qpos[:, 0]

    @cached_per_step
    def upright(self) -> np.ndarray:
        """(n,) cosine of the pole's angle: 1 standing, -1 hanging."""
        return np.cos(self.qpos[:, 1])

    def pole_velocity(self) -> np.ndarray:
        """(n,) [rad/s]."""
        return self.qvel[:, 1]

    def observation(self) -> np.ndarray:
        """(n, 5)."""
        seen = np.empty((len(self.qpos), 5))
        np.divide(self.qpos[:, 0], _RAIL, out=seen[:, 0])
        seen[:, 1] = self.upright()
        np.sin(self.qpos[:, 1], out=seen[:, 2])
        np.divide(self.qvel, (_CART_SPEED, _POLE_SPEED), out=seen[:, 3:])
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, 2): where the cart is, and the angle whose cosine and sine are observed."""
        return np.stack([observation[:, 0] * _RAIL, np.arctan2(observation[:, 2], observation[:, 1])], axis=1)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Cart [m] and [m/s], pole as cosine and sine of its angle and [rad/s]."""
        return {
            "cart_position": self.qpos[:, :1].copy(),
            "cart_velocity": self.qvel[:, :1].copy(),
            "pole_angle_cos": np.cos(self.qpos[:, 1:]),
            "pole_angle_sin": np.sin(self.qpos[:, 1:]),
            "pole_velocity": self.qvel[:, 1:].copy(),
        }


class CartPoleSwingUp(Task):
    """Swing the hanging pole up and keep it standing over the middle of the rail."""

    robot = Cartpole
    max_episode_steps = 500  # 10 s

    _STANDING = 0.995  # cosine of 5.7 degrees
    _CENTRED = 0.25  # [m]

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Hanging near the middle, nearly still."""
        return random.normal([0.0, math.pi], 0.01), random.normal(0.0, 0.01, 2)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """Upright, and in the middle, and calm, and with little force."""
        upright = (1 + robot.upright()) / 2
        centred = (1 + tolerance(robot.cart_position(), margin=2.0)) / 2
        calm = (1 + tolerance(robot.pole_velocity(), margin=5.0)) / 2
        gentle = (4 + tolerance(action[:, 0], margin=1.0)) / 5
        return upright * centred * calm * gentle

    def success(self, robot: Any) -> np.ndarray:
        """The pole stands within 5.7 degrees, the cart within 25 cm of the middle."""
        return (robot.upright() >= self._STANDING) & (np.abs(robot.cart_position()) <= self._CENTRED)


class CartPoleBalance(CartPoleSwingUp):
    """Keep the nearly upright pole standing over the middle of the rail."""

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Standing within 2 degrees, near the middle, nearly still."""
        return random.uniform([-0.1, -0.034], [0.1, 0.034]), random.normal(0.0, 0.01, 2)


TASKS = {"CartPoleSwingUp": CartPoleSwingUp, "CartPoleBalance": CartPoleBalance}
