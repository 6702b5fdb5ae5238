"""Bodies with a fault each, as native batches; `register_bodies()` gives them the ids bodies/Silent-v0, ..."""

from __future__ import annotations

import numpy as np
import robossl.envs
from robossl.envs.cartpole import CartPoleBalance


class _Silent(CartPoleBalance.robot):
    """A number that cannot be worked out once the pole leans."""

    def observation(self):
        seen = np.array(super().observation())
        with np.errstate(invalid="ignore"):
            seen[:, 0] += 0 * np.sqrt(0.01 - np.abs(self.qpos[:, 1]))
        return seen


class _Crowd(CartPoleBalance.robot):
    """Every lane sees itself beside the others."""

    def observation(self):
        seen = super().observation()
        return seen - seen.mean(axis=0)


class _Tail(CartPoleBalance.robot):
    """Every lane sees itself beside the last."""

    def observation(self):
        seen = super().observation()
        return seen - 0.5 * seen[-1]


class Tail(CartPoleBalance):
    robot = _Tail


class Together(CartPoleBalance):
    """It ends where others are there."""

    def terminated(self, robot):
        return np.full(len(robot.qpos), len(robot.qpos) > 1)


class Silent(CartPoleBalance):
    robot = _Silent


class Crowd(CartPoleBalance):
    robot = _Crowd


def register_bodies() -> None:
    tasks = {task.__name__: task for task in (Silent, Crowd, Tail, Together)}
    robossl.envs.register_tasks(tasks, namespace="bodies")
