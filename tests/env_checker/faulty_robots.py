"""Native envs with one fault each; `register_faulty_robots` registers them as faulty/<Class>-v0."""

from __future__ import annotations

import numpy as np
import robossl.envs
from robossl.envs.cartpole import CartPoleBalance


class _NanRobot(CartPoleBalance.robot):
    """Observes NaN when the pole tilts."""

    def observation(self):
        observation = np.array(super().observation())
        with np.errstate(invalid="ignore"):
            observation[:, 0] += 0 * np.sqrt(0.01 - np.abs(self.qpos[:, 1]))
        return observation


class _MeanRobot(CartPoleBalance.robot):
    """Observes the difference to the mean over all sub-environments."""

    def observation(self):
        observation = super().observation()
        return observation - observation.mean(axis=0)


class _LastRobot(CartPoleBalance.robot):
    """Observes the difference to the last sub-environment."""

    def observation(self):
        observation = super().observation()
        return observation - 0.5 * observation[-1]


class DiffersFromLast(CartPoleBalance):
    robot = _LastRobot


class TerminatesInBatch(CartPoleBalance):
    """Terminates if there is more than one sub-environment."""

    def terminated(self, robot):
        return np.full(len(robot.qpos), len(robot.qpos) > 1)


class NanObservation(CartPoleBalance):
    robot = _NanRobot


class DiffersFromMean(CartPoleBalance):
    robot = _MeanRobot


def register_faulty_robots() -> None:
    tasks = {t.__name__: t for t in (NanObservation, DiffersFromMean, DiffersFromLast, TerminatesInBatch)}
    robossl.envs.register_tasks(tasks, namespace="faulty")
