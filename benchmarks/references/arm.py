"""References of the arm: the fingers pointing down all the time, joints follow by inverse kinematics.

To reach is to go there. To push or to lift is to grasp the cube from above and to carry it: low over the tray, or up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from robossl.envs.arm import inverse_kinematics

from .mpc import goals_of

_GAIN = 8.0  # [1/s] joint speed for each radian of error
_AHEAD = 0.08  # [m] to the place aimed at, on the straight way
_HALF_OPEN, _OPEN, _SHUT = 0.0, 1.0, -1.0  # actions of the gripper
_ABOVE = 0.1  # [m] of the fingertips above the cube's middle, on the way to it
_NEAR = 0.008  # [m] and
_TURNED = 0.1  # [rad]: errors small enough to go on
_LOST = 0.05  # [m] from fingertips to cube at which it begins anew
_CLOSING = 10  # [control steps] until the fingers hold it
_LIFTED = 0.24  # [m] the height of the cube's middle at the end
_CARRIED = 0.032  # [m] and on the way over the tray


class _Scripted:
    """Privileged: it reads joints and cube."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._body = self._simulation.body
        self._fastest = self._simulation.model.actuator_ctrlrange[:7, 1]  # (7,) [rad/s]

    def reset(self, mask: np.ndarray) -> None:
        """There is nothing to remember."""

    def _towards(self, place: np.ndarray, yaw: np.ndarray, gripper: np.ndarray) -> np.ndarray:
        """(n, 8): straight to places (n, 3) [m], the fingers turned by yaw (n,) [rad] and moved by gripper (n,)."""
        grip, joints = self._body.grip(), self._body.qpos[:, :7]
        way = place - grip
        length = np.sqrt(np.sum(way * way, axis=1, keepdims=True))
        aim = grip + way * np.minimum(1.0, _AHEAD / np.maximum(length, 1e-9))
        share = _GAIN * (inverse_kinematics(aim, yaw) - joints) / self._fastest
        share = share / np.maximum(1.0, np.abs(share).max(axis=1, keepdims=True))
        return np.concatenate([share, gripper[:, None]], axis=1)


class Reach(_Scripted):
    """Straight to the goal."""

    def act(self, observation: Any) -> np.ndarray:
        """(n, 8)."""
        place = self._simulation.task.place_of(goals_of(self._simulation))
        still = np.zeros(len(place))
        return self._towards(place, still, still + _HALF_OPEN)


class Carry(_Scripted, ABC):
    """Over the cube, down, grasp it, carry it; from the beginning where it slips away."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._phase = np.zeros(envs.num_envs, np.int64)  # 0 over it, 1 down, 2 grasp, 3 carry
        self._waited = np.zeros(envs.num_envs, np.int64)  # [control steps] of grasping
        self._yaw = np.zeros(envs.num_envs)  # [rad] of the fingers since they went down
        self._taken = np.zeros((envs.num_envs, 3))  # [m] where the cube was grasped

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        self._phase[mask] = self._waited[mask] = 0

    def act(self, observation: Any) -> np.ndarray:
        """(n, 8)."""
        cube = self._body.cube()
        over, grasping, carrying = self._phase == 0, self._phase == 2, self._phase == 3
        self._yaw = np.where(over, self._cube_yaw(), self._yaw)
        self._taken = np.where(carrying[:, None], self._taken, cube)
        place = np.where(carrying[:, None], self._end(), self._taken)
        place[over, 2] += _ABOVE
        self._go_on(place, cube)
        return self._towards(place, self._yaw, np.where(grasping | carrying, _SHUT, _OPEN))

    @abstractmethod
    def _end(self) -> np.ndarray:
        """(n, 3) [m]: where a cube that is held is carried."""

    def _go_on(self, place: np.ndarray, cube: np.ndarray) -> None:
        """Into the next phase, in the lanes where it is time."""
        grip = self._body.grip()
        there = np.sqrt(np.sum((place - grip) ** 2, axis=1)) < _NEAR
        off = np.abs(inverse_kinematics(grip, self._yaw)[:, 6] - self._body.qpos[:, 6])
        self._waited = np.where(self._phase == 2, self._waited + 1, 0)
        ready = np.choose(
            self._phase, [there & (off < _TURNED), there, self._waited >= _CLOSING, np.zeros_like(there)]
        )
        lost = (self._phase >= 2) & (np.sqrt(np.sum((cube - grip) ** 2, axis=1)) > _LOST)
        self._phase = np.where(lost, 0, self._phase + ready)

    def _cube_yaw(self) -> np.ndarray:
        """(n,) [rad]: how the cube's sides lie, of the four ways the one that turns the wrist least."""
        axes = self._body.state()["cube_axes"]
        flat = np.where(np.abs(axes[:, 2:3]) < 0.7, axes[:, :2], axes[:, 3:5])
        yaw, pan = np.arctan2(flat[:, 1], flat[:, 0]), np.arctan2(*self._body.cube()[:, 1::-1].T)
        quarter = np.pi / 2
        return yaw + quarter * np.round((pan - yaw) / quarter)


class Push(Carry):
    """Low over the tray to the goal."""

    def _end(self) -> np.ndarray:
        place = self._simulation.task.place_of(goals_of(self._simulation))
        place[:, 2] = _CARRIED
        return place


class Lift(Carry):
    """Straight up."""

    def _end(self) -> np.ndarray:
        return self._taken * [1.0, 1.0, 0.0] + [0.0, 0.0, _LIFTED]


REFERENCES = {"ArmReach": Reach, "ArmPush": Push, "ArmLift": Lift}
