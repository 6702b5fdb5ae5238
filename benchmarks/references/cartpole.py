"""References of the cartpole: energy pumping until the pole is near the top, then LQR."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

_GRAVITY = 9.81  # [m/s^2]
_CATCH_ANGLE = 0.5  # [rad] LQR is used within this angle from upright
_CATCH_SPEED = 3.0  # [rad/s] LQR is used below this speed of the pole
_ENERGY_GAIN, _POSITION_GAIN, _VELOCITY_GAIN = 3.0, 0.3, 0.15  # [1], [1/m], [s/m]
_STATE_COST = np.diag([1.0, 10.0, 0.1, 0.1])  # cart, pole and their velocities
_CONTROL_COST = np.array([[1.0]])


class SwingUpController:
    """Energy pumping and LQR; reads the true positions and velocities and linearizes the model."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._gain = lqr_gain(self._simulation)  # (1, 4)
        pole = self._simulation.model.body("pole")
        length = float(pole.ipos[2])  # [m] from the hinge to the center of mass
        self._weight = float(pole.mass[0]) * _GRAVITY * length  # [N m]
        self._inertia = float(pole.inertia[1]) + float(pole.mass[0]) * length**2  # [kg m^2] about the hinge

    def reset(self, mask: np.ndarray) -> None:
        """Keep no state."""

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 1)."""
        position, angle = self._simulation.robot.qpos.T
        velocity, spin = self._simulation.robot.qvel.T
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        state = np.stack([position, angle, velocity, spin], axis=1)
        balance = -(state @ self._gain.T)[:, 0]
        energy = self._inertia * spin**2 / 2 + self._weight * (np.cos(angle) - 1)  # [J] 0 if it stands still
        swing_up = _ENERGY_GAIN * energy / self._weight * np.sign(spin * np.cos(angle))
        swing_up -= _POSITION_GAIN * position + _VELOCITY_GAIN * velocity
        near_top = (np.abs(angle) < _CATCH_ANGLE) & (np.abs(spin) < _CATCH_SPEED)
        return np.clip(np.where(near_top, balance, swing_up), -1, 1)[:, None]


def lqr_gain(simulation: Any) -> np.ndarray:
    """Return the LQR gain (A, 2 nv) about the zero pose at rest."""
    model, substeps = simulation.model, simulation.task.robot.substeps
    jacobian = _step_jacobian(model, substeps)  # (2 nv, 2 nv + nu)
    state_matrix, control_matrix = jacobian[:, : 2 * model.nv], jacobian[:, 2 * model.nv :]
    cost, gain = _STATE_COST, np.zeros((model.nu, 2 * model.nv))
    for _ in range(2000):  # Riccati recursion, far past convergence
        gain = np.linalg.solve(
            _CONTROL_COST + control_matrix.T @ cost @ control_matrix, control_matrix.T @ cost @ state_matrix
        )
        cost = _STATE_COST + state_matrix.T @ cost @ (state_matrix - control_matrix @ gain)
    return gain


def _step_jacobian(model: Any, substeps: int, epsilon: float = 1e-5) -> np.ndarray:
    """Return (2 nv, 2 nv + nu): derivatives of one control step with respect to state and control."""
    import mujoco

    def next_state(state_and_control: np.ndarray) -> np.ndarray:
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.ctrl[:] = np.split(
            state_and_control, [model.nq, model.nq + model.nv]
        )
        mujoco.mj_step(model, data, substeps)
        return np.concatenate([data.qpos, data.qvel])

    offsets = epsilon * np.eye(model.nq + model.nv + model.nu)
    return np.stack([(next_state(d) - next_state(-d)) / (2 * epsilon) for d in offsets], axis=1)


REFERENCES = {"CartPoleSwingUp": SwingUpController, "CartPoleBalance": SwingUpController}
