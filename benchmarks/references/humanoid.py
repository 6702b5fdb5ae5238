"""References of the humanoid: scripted postures with balance feedback, for rising from a squat and for walking.

Postures are joint targets. Balance feedback bends ankles and hips against the drift of the center of mass. The
parameters were found by hand, then by a cross-entropy search in the true simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

# the first joint of each leg: hip (abduct, turn, forward), knee, ankle (up, inward)
_RIGHT_LEG, _LEFT_LEG = 3, 9
_DELAYED_JOINTS = [5, 7, 11, 13]  # hips forward and ankles up
_ARMS = (15, 18)  # the first joint of each arm: shoulder (forward, abduct), elbow


class _BalanceController:
    """Base of the controllers; reads the true pose, velocity and center of mass."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._robot, self._num_envs, self._step = simulation.robot, envs.num_envs, simulation.control_step
        self._center_of_mass, self._body_positions = (
            simulation.batch.bind(name) for name in ("subtree_com", "xpos")
        )
        self._batch = simulation.batch
        self._feet = [simulation.model.body(f"{side}_foot").id for side in ("right", "left")]
        low, high = simulation.model.actuator_ctrlrange.T
        self._center, self._half_range = (low + high) / 2, (high - low) / 2  # (21,)
        self._time = np.zeros(self._num_envs)  # [s] since the start of the episode

    def reset(self, mask: np.ndarray) -> None:
        """Reset the time in the sub-environments of `mask` (n,) bool."""
        self._time[mask] = 0.0
        self._batch.forward()

    def _action(self, joints: np.ndarray) -> np.ndarray:
        """Return the actions (n, 21) of joint targets (n, 21) [rad]."""
        self._time += self._step
        return np.clip((joints - self._center) / self._half_range, -1, 1)

    def _to_heading(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the forward and left components, each (n,), of world vectors (n, 2 or more)."""
        w, x, y, z = self._robot.qpos[:, 3:7].T
        cosine, sine = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z)
        length = np.maximum(np.sqrt(cosine**2 + sine**2), 1e-6)
        cosine, sine = cosine / length, sine / length
        return vector[:, 0] * cosine + vector[:, 1] * sine, vector[:, 1] * cosine - vector[:, 0] * sine

    def _pitch_sine(self) -> np.ndarray:
        """Return the sine (n,) of the torso's pitch; bowing forward is positive."""
        w, x, y, z = self._robot.qpos[:, 3:7].T
        return 2 * (w * y - x * z)


@dataclass(frozen=True)
class StandUp:
    """Parameters of rising from a squat."""

    duration: float = 0.391  # [s]
    delay_power: float = 1.706  # exponent that delays hips and ankles behind the knees
    com_ahead: float = 0.027  # [m] target of the center of mass before the ankles
    # gains: ankles press the toes down against falling forward, hips bend in the same direction
    ankle: float = 2.399  # [rad/m]
    ankle_damping: float = 0.759  # [rad s/m]
    hip: float = -0.577  # [rad/m]
    hip_damping: float = -0.223  # [rad s/m]
    # gains: hips stretch against bowing of the torso
    torso: float = 0.53  # [rad]
    torso_damping: float = 0.109  # [s]
    # gains: ankles turn against falling sideways, hips turn in the same direction
    ankle_roll: float = 1.417  # [rad/m]
    ankle_roll_damping: float = 0.455  # [rad s/m]
    hip_roll: float = 1.261  # [rad/m]
    hip_roll_damping: float = 0.509  # [rad s/m]
    final_knee: float = 0.111  # [rad] in the standing posture
    hip_width: float = 0.099  # [rad] abduction in the standing posture
    final_hip: float = 0.009  # [rad] added to the hips in the standing posture


class StandUpController(_BalanceController):
    """Stretches the joints evenly and keeps the center of mass above the feet."""

    def __init__(self, envs: gym.vector.VectorEnv, parameters: StandUp) -> None:
        super().__init__(envs)
        self._parameters, self._initial_joints = parameters, np.zeros((self._num_envs, 21))

    def reset(self, mask: np.ndarray) -> None:
        """Start from the current joint angles in the sub-environments of `mask` (n,) bool."""
        super().reset(mask)
        self._initial_joints[mask] = self._robot.qpos[mask, 7:]

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 21)."""
        p = self._parameters
        progress = np.clip(self._time / p.duration, 0.0, 1.0)  # (n,)
        joints = self._initial_joints * (1 - progress[:, None])
        delayed = self._initial_joints[:, _DELAYED_JOINTS]
        joints[:, _DELAYED_JOINTS] = delayed * (1 - progress**p.delay_power)[:, None]
        knee = p.final_knee * progress
        between_feet = self._body_positions[:, self._feet].mean(axis=1)
        forward, left = self._to_heading(self._center_of_mass[:, 1] - between_feet)
        forward_speed, left_speed = self._to_heading(self._robot.qvel)
        error = forward - p.com_ahead
        ankle = p.ankle * error + p.ankle_damping * forward_speed
        hip = p.hip * error + p.hip_damping * forward_speed
        hip = hip - p.torso * self._pitch_sine() * progress - p.torso_damping * self._robot.qvel[:, 4]
        ankle_roll = p.ankle_roll * left + p.ankle_roll_damping * left_speed
        hip_roll = p.hip_roll * left + p.hip_roll_damping * left_speed
        for leg, side in ((_RIGHT_LEG, -1), (_LEFT_LEG, 1)):
            joints[:, leg] += p.hip_width * progress + side * hip_roll
            joints[:, leg + 2] += (p.final_hip + p.final_knee / 2) * progress + hip
            joints[:, leg + 3] += knee
            joints[:, leg + 4] += knee / 2 - ankle
            joints[:, leg + 5] += side * ankle_roll
        return self._action(joints)


@dataclass(frozen=True)
class Gait:
    """Parameters of walking with feedback on the swing foot (SIMBICON; Yin et al. 2007)."""

    step_time: float = 0.399  # [s]
    swing_hip: float = 0.177  # [rad] of the swing thigh, forward
    swing_hip_position: float = (
        0.394  # [rad/m] added per distance of the center of mass ahead of the stance foot
    )
    swing_hip_speed: float = 0.239  # [rad s/m] added per forward speed
    swing_knee: float = 1.24  # [rad] in the first half of a step
    landing_knee: float = 0.164  # [rad] in the second half
    stance_knee: float = -0.018  # [rad]
    stance_hip: float = -0.058  # [rad]
    push_off: float = 0.125  # [rad] toes of the stance foot pressed down in the second half
    swing_toes: float = 0.225  # [rad] toes of the swing foot lifted
    torso: float = 0.864  # [rad] gain by which the stance hip stretches against bowing of the torso
    torso_damping: float = -0.0  # [s] the same for the pitch velocity
    torso_pitch: float = -0.005  # target sine of the torso's pitch
    swing_width: float = 0.06  # [rad] abduction of the swing leg
    swing_width_position: float = 0.678  # [rad/m] added per distance of the center of mass to its side
    swing_width_speed: float = 0.368  # [rad s/m] added per speed to its side
    stance_abduction: float = 0.205  # [rad] by which the stance hip lifts the other side
    stance_ankle: float = 0.67  # [rad s/m] toes of the stance foot pressed down per forward speed
    arm_swing: float = 0.285  # [rad] opposite to the legs


class WalkController(_BalanceController):
    """Swings one leg to where it stops the fall, while the other keeps the torso upright; then the legs swap."""

    def __init__(self, envs: gym.vector.VectorEnv, gait: Gait) -> None:
        super().__init__(envs)
        self._gait = gait

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 21)."""
        gait, env_ids = self._gait, np.arange(self._num_envs)
        cycle = self._time / gait.step_time
        left_swings = (cycle.astype(np.int64) % 2).astype(bool)
        second_half = cycle % 1.0 > 0.5
        swing = np.where(left_swings, _LEFT_LEG, _RIGHT_LEG)
        stance = np.where(left_swings, _RIGHT_LEG, _LEFT_LEG)
        side = np.where(left_swings, 1.0, -1.0)  # of the swing leg
        stance_foot = self._body_positions[env_ids, np.where(left_swings, self._feet[0], self._feet[1])]
        forward, left = self._to_heading(self._center_of_mass[:, 1] - stance_foot)
        forward_speed, left_speed = self._to_heading(self._robot.qvel)
        joints = np.zeros((self._num_envs, 21))
        torso = gait.torso * (self._pitch_sine() - gait.torso_pitch)
        torso = torso + gait.torso_damping * self._robot.qvel[:, 4]
        drift = gait.swing_width_position * left + gait.swing_width_speed * left_speed
        joints[env_ids, swing] = gait.swing_width + side * drift
        hip = gait.swing_hip + gait.swing_hip_position * forward
        joints[env_ids, swing + 2] = hip + gait.swing_hip_speed * forward_speed
        joints[env_ids, swing + 3] = np.where(second_half, gait.landing_knee, gait.swing_knee)
        joints[env_ids, swing + 4] = gait.swing_toes
        joints[env_ids, stance] = gait.stance_abduction
        joints[env_ids, stance + 2] = gait.stance_hip - torso
        joints[env_ids, stance + 3] = gait.stance_knee
        ankle = gait.stance_knee / 2 - gait.stance_ankle * forward_speed
        joints[env_ids, stance + 4] = ankle - np.where(second_half, gait.push_off, 0.0)
        for arm, with_left_leg in zip(_ARMS, (1.0, -1.0)):
            joints[:, arm] = gait.arm_swing * np.where(left_swings, with_left_leg, -with_left_leg)
            joints[:, arm + 1], joints[:, arm + 2] = 0.1, 0.4
        return self._action(joints)


REFERENCES = {
    "HumanoidStand": lambda envs: StandUpController(envs, StandUp()),
    "HumanoidWalk": lambda envs: WalkController(envs, Gait()),
}
