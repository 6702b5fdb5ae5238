"""References of the cart-pole: pump energy until the pole comes near the top, then hold it by LQR."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

_GRAVITY = 9.81  # [m/s^2]
_CATCH = 0.5  # [rad] from upright where the regulator takes over, and
_SLOW = 3.0  # [rad/s] if the pole is no faster than that
_PUMP, _CENTRE, _BRAKE = 3.0, 0.3, 0.15  # gains of energy, cart position [1/m] and cart velocity [s/m]
_COST = np.diag([1.0, 10.0, 0.1, 0.1])  # of cart, pole, and their velocities
_EFFORT = np.array([[1.0]])


class SwingUp:
    """Privileged: it reads positions and velocities, and linearises the model itself."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._gain = regulator(self._simulation)  # (1, 4)
        body = self._simulation.model.body("pole")
        arm = float(body.ipos[2])  # [m] from the hinge to the centre of mass
        self._weight = float(body.mass[0]) * _GRAVITY * arm  # [N m]
        self._inertia = float(body.inertia[1]) + float(body.mass[0]) * arm**2  # [kg m^2] about the hinge

    def reset(self, mask: np.ndarray) -> None:
        """There is nothing to remember."""

    def act(self, observation: Any) -> np.ndarray:
        """(n, 1)."""
        place, angle = self._simulation.body.qpos.T
        velocity, spin = self._simulation.body.qvel.T
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        state = np.stack([place, angle, velocity, spin], axis=1)
        hold = -(state @ self._gain.T)[:, 0]
        energy = self._inertia * spin**2 / 2 + self._weight * (np.cos(angle) - 1)  # [J] 0 standing
        swing = _PUMP * energy / self._weight * np.sign(spin * np.cos(angle))
        swing -= _CENTRE * place + _BRAKE * velocity
        near = (np.abs(angle) < _CATCH) & (np.abs(spin) < _SLOW)
        return np.clip(np.where(near, hold, swing), -1, 1)[:, None]


def regulator(simulation: Any) -> np.ndarray:
    """(A, 2 nv): the gain of the linear-quadratic regulator about the pose of all zeros, at rest."""
    model, substeps = simulation.model, simulation.task.body.substeps
    both = _jacobian(model, substeps)  # (2 nv, 2 nv + nu)
    step, pushed = both[:, : 2 * model.nv], both[:, 2 * model.nv :]
    cost, gain = _COST, np.zeros((model.nu, 2 * model.nv))
    for _ in range(2000):  # the Riccati recursion, far beyond where it settles
        gain = np.linalg.solve(_EFFORT + pushed.T @ cost @ pushed, pushed.T @ cost @ step)
        cost = _COST + step.T @ cost @ (step - pushed @ gain)
    return gain


def _jacobian(model: Any, substeps: int, by: float = 1e-5) -> np.ndarray:
    """(2 nv, 2 nv + nu): how one control step answers to state and control, by central differences."""
    import mujoco

    def later(given: np.ndarray) -> np.ndarray:
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.ctrl[:] = np.split(given, [model.nq, model.nq + model.nv])
        mujoco.mj_step(model, data, substeps)
        return np.concatenate([data.qpos, data.qvel])

    nudges = by * np.eye(model.nq + model.nv + model.nu)
    return np.stack([(later(nudge) - later(-nudge)) / (2 * by) for nudge in nudges], axis=1)


REFERENCES = {"CartPoleSwingUp": SwingUp, "CartPoleBalance": SwingUp}
