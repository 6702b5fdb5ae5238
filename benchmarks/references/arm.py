"""References of the arm: inverse kinematics with the gripper pointing down.

Reach moves the gripper to the goal. Push and Lift grasp the cube from above, then carry it low over the tray, or up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from robossl.envs.arm import inverse_kinematics

from .mpc import current_goals

_GAIN = 8.0  # [1/s] joint speed per radian of error
_LOOK_AHEAD = 0.08  # [m] distance to the next way point on the straight line
_HALF_OPEN, _OPEN, _SHUT = 0.0, 1.0, -1.0  # gripper actions
_APPROACH_HEIGHT = 0.1  # [m] of the fingertips above the cube's center while approaching
_POSITION_TOLERANCE = 0.008  # [m] error below which the next phase begins
_YAW_TOLERANCE = 0.1  # [rad] error below which the next phase begins
_LOST_DISTANCE = 0.05  # [m] from fingertips to cube, above which the approach starts again
_GRASP_STEPS = 10  # [control steps] until the fingers hold the cube
_LIFT_HEIGHT = 0.24  # [m] final height of the cube's center
_CARRY_HEIGHT = 0.032  # [m] height of the cube's center above the tray while pushing
_APPROACH, _DESCEND, _GRASP, _CARRY = range(4)  # phases


class _IKController:
    """Cartesian control by inverse kinematics; reads the true joint angles and cube pose."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._robot = self._simulation.robot
        self._max_speed = self._simulation.model.actuator_ctrlrange[:7, 1]  # (7,) [rad/s]

    def reset(self, mask: np.ndarray) -> None:
        """Keep no state."""

    def _move_to(self, position: np.ndarray, yaw: np.ndarray, gripper: np.ndarray) -> np.ndarray:
        """Return actions (n, 8) toward positions (n, 3) [m], given finger yaw (n,) [rad] and gripper action (n,)."""
        grip, joints = self._robot.gripper_position(), self._robot.qpos[:, :7]
        offset = position - grip
        distance = np.sqrt(np.sum(offset * offset, axis=1, keepdims=True))
        way_point = grip + offset * np.minimum(1.0, _LOOK_AHEAD / np.maximum(distance, 1e-9))
        speed = _GAIN * (inverse_kinematics(way_point, yaw) - joints) / self._max_speed
        speed = speed / np.maximum(1.0, np.abs(speed).max(axis=1, keepdims=True))
        return np.concatenate([speed, gripper[:, None]], axis=1)


class ReachController(_IKController):
    """Moves the gripper straight to the goal."""

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 8)."""
        position = self._simulation.task.goal_position(current_goals(self._simulation))
        zero = np.zeros(len(position))
        return self._move_to(position, zero, zero + _HALF_OPEN)


class CarryController(_IKController, ABC):
    """Approaches the cube from above, grasps it and carries it; starts again if the cube slips away."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._phase = np.zeros(envs.num_envs, np.int64)
        self._grasp_age = np.zeros(envs.num_envs, np.int64)  # [control steps] since the grasp began
        self._yaw = np.zeros(envs.num_envs)  # [rad] of the fingers since the descent began
        self._grasp_position = np.zeros((envs.num_envs, 3))  # [m] of the cube when it was grasped

    def reset(self, mask: np.ndarray) -> None:
        """Start again with the approach in the sub-environments of `mask` (n,) bool."""
        self._phase[mask] = self._grasp_age[mask] = 0

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 8)."""
        cube = self._robot.cube_position()
        approaching = self._phase == _APPROACH
        grasping, carrying = self._phase == _GRASP, self._phase == _CARRY
        self._yaw = np.where(approaching, self._cube_yaw(), self._yaw)
        self._grasp_position = np.where(carrying[:, None], self._grasp_position, cube)
        target = np.where(carrying[:, None], self._carry_target(), self._grasp_position)
        target[approaching, 2] += _APPROACH_HEIGHT
        self._update_phase(target, cube)
        return self._move_to(target, self._yaw, np.where(grasping | carrying, _SHUT, _OPEN))

    @abstractmethod
    def _carry_target(self) -> np.ndarray:
        """Return positions (n, 3) [m] to which a grasped cube is carried."""

    def _update_phase(self, target: np.ndarray, cube: np.ndarray) -> None:
        """Advance the phase where its condition is met; return to the approach where the cube is lost."""
        grip = self._robot.gripper_position()
        near = np.sqrt(np.sum((target - grip) ** 2, axis=1)) < _POSITION_TOLERANCE
        yaw_error = np.abs(inverse_kinematics(grip, self._yaw)[:, 6] - self._robot.qpos[:, 6])
        self._grasp_age = np.where(self._phase == _GRASP, self._grasp_age + 1, 0)
        ready = np.choose(
            self._phase,
            [near & (yaw_error < _YAW_TOLERANCE), near, self._grasp_age >= _GRASP_STEPS, np.zeros_like(near)],
        )
        lost = (self._phase >= _GRASP) & (np.sqrt(np.sum((cube - grip) ** 2, axis=1)) > _LOST_DISTANCE)
        self._phase = np.where(lost, _APPROACH, self._phase + ready)

    def _cube_yaw(self) -> np.ndarray:
        """Return (n,) [rad] the cube's yaw: of the four equivalent angles the one that turns the wrist least."""
        axes = self._robot.privileged_state()["cube_axes"]
        horizontal = np.where(np.abs(axes[:, 2:3]) < 0.7, axes[:, :2], axes[:, 3:5])
        yaw = np.arctan2(horizontal[:, 1], horizontal[:, 0])
        pan = np.arctan2(*self._robot.cube_position()[:, 1::-1].T)
        quarter = np.pi / 2
        return yaw + quarter * np.round((pan - yaw) / quarter)


class PushController(CarryController):
    """Carries the cube low over the tray to the goal."""

    def _carry_target(self) -> np.ndarray:
        position = self._simulation.task.goal_position(current_goals(self._simulation))
        position[:, 2] = _CARRY_HEIGHT
        return position


class LiftController(CarryController):
    """Lifts the cube straight up."""

    def _carry_target(self) -> np.ndarray:
        return self._grasp_position * [1.0, 1.0, 0.0] + [0.0, 0.0, _LIFT_HEIGHT]


REFERENCES = {"ArmReach": ReachController, "ArmPush": PushController, "ArmLift": LiftController}
