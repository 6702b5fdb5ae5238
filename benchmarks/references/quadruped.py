"""References of the quadruped: scripted gaits for walking and running, a cycle of jumps, and a stand-up sequence.

Foot positions are computed in the trunk's frame; inverse kinematics gives the joints. The parameters of each gait were
found by a cross-entropy search in the true simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

_LINK_LENGTH = 0.213  # [m] of the thigh and of the calf
_HIP_OFFSET = 0.08  # [m] from the hip joint sideways to the plane of the leg
_SIDE = np.array([-1.0, 1.0, -1.0, 1.0])  # front right, front left, rear right, rear left
_FRONT = np.array([1.0, 1.0, -1.0, -1.0])
_TROT_PHASE = np.array([0.0, 0.5, 0.5, 0.0])  # [cycles] phase offset of each leg


def leg_inverse_kinematics(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return hip, thigh and calf angles (n, 4, 3) [rad] for feet at (n, 4) [m] from the hips; z is negative below."""
    down = np.sqrt(np.maximum(y * y + z * z - _HIP_OFFSET**2, 1e-4))  # in the plane of the leg
    hip = np.arctan2(y, -z) - np.arctan2(_HIP_OFFSET * _SIDE, down)
    length = np.clip(np.sqrt(x * x + down * down), 0.09, 0.42)
    calf = -np.arccos(np.clip(length * length / (2 * _LINK_LENGTH**2) - 1, -1, 1))
    return np.stack([hip, np.arctan2(-x, down) - calf / 2, calf], axis=-1)


class _ScriptedController:
    """Base of the scripted controllers; reads the true pose and velocity of the trunk."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._robot, self._num_envs, self._step = simulation.robot, envs.num_envs, simulation.control_step
        low, high = simulation.model.actuator_ctrlrange.T.reshape(2, 4, 3)
        self._center, self._half_range = (low + high) / 2, (high - low) / 2  # (4, 3)
        self._time = np.zeros(self._num_envs)  # [s] since the start of the episode or of its phase

    def reset(self, mask: np.ndarray) -> None:
        """Reset the time in the sub-environments of `mask` (n,) bool."""
        self._time[mask] = 0.0

    def _action(self, joints: np.ndarray) -> np.ndarray:
        """Return the actions (n, 12) of joint targets (n, 4, 3) [rad]."""
        return np.clip((joints - self._center) / self._half_range, -1, 1).reshape(self._num_envs, 12)

    def _trunk_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return velocity [m/s], up direction and spin [rad/s] in the trunk's frame, each (3, n, 1)."""
        state = self._robot.privileged_state()
        names = ("torso_velocity", "torso_up", "torso_angular_velocity")
        return tuple(state[name].T[:, :, None] for name in names)  # type: ignore[return-value]


@dataclass(frozen=True)
class Gait:
    """A trot: diagonal legs move together, half a period after the other two."""

    speed: float  # [m/s] target
    period: float  # [s]
    duty: float  # fraction of the period in which a foot is on the floor
    stride_gain: float  # stride over the distance that the trunk travels meanwhile
    speed_gain: float  # [s] foot placement ahead per m/s of excess speed
    front: float  # [m] center of the stride before the hip, front legs
    rear: float  # [m] the same, rear legs
    stance_gain: float  # [s] lag of stance feet per m/s of missing speed
    stance_press: float  # [m] by which stance feet press into the floor
    swing_height: float  # [m] by which swing feet are lifted
    height: float  # [m] of the hips above the feet
    pitch_gain: float  # [m] by which the lower end is raised, per sine of the pitch
    drift_gain: float  # [s] foot placement sideways per m/s of drift
    width: float  # [m] by which feet stand outside the hips
    yaw_gain: float  # [m s] foot placement against turning


class TrotController(_ScriptedController):
    """Walks or runs: swing feet land where the trunk will be, stance feet keep the trunk level."""

    _RAMP = 1.0  # [s] until full speed

    def __init__(self, envs: gym.vector.VectorEnv, gait: Gait) -> None:
        super().__init__(envs)
        self._gait, self._cycle = gait, np.zeros(self._num_envs)

    def reset(self, mask: np.ndarray) -> None:
        """Start the gait again in the sub-environments of `mask` (n,) bool."""
        super().reset(mask)
        self._cycle[mask] = 0.0

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 12)."""
        gait = self._gait
        (forward, sideways, _), up, spin = self._trunk_state()
        target_speed = gait.speed * np.minimum(1.0, (self._time + self._step) / self._RAMP)[:, None]
        phase = (self._cycle[:, None] + _TROT_PHASE) % 1.0  # (n, 4)
        in_stance = phase < gait.duty
        swing = np.clip((phase - gait.duty) / (1 - gait.duty), 0, 1)
        swing_fraction = 0.5 - 0.5 * np.cos(np.pi * swing)
        # foot position in units of half a stride, from -1 to 1
        stride_fraction = np.where(in_stance, 1 - 2 * phase / gait.duty, 2 * swing_fraction - 1)
        half_stance = gait.duty * gait.period / 2  # [s]
        half_stride = forward * half_stance * gait.stride_gain + gait.speed_gain * (forward - target_speed)
        x = np.clip(half_stride, -0.22, 0.22) * stride_fraction + np.where(_FRONT > 0, gait.front, gait.rear)
        x = x + gait.stance_gain * np.where(in_stance, target_speed - forward, 0.0)
        y = (_HIP_OFFSET + gait.width) * _SIDE + sideways * (half_stance + gait.drift_gain) * stride_fraction
        y = y + gait.yaw_gain * spin[2] * _FRONT * np.where(in_stance, 1, -1)
        stance_z = -gait.stance_press * np.sin(np.pi * phase / gait.duty) + gait.pitch_gain * up[0] * _FRONT
        z = -gait.height + np.where(in_stance, stance_z, gait.swing_height * np.sin(np.pi * swing))
        self._time += self._step
        self._cycle = (self._cycle + self._step / gait.period) % 1.0
        return self._action(leg_inverse_kinematics(x, y, z))


@dataclass(frozen=True)
class Jump:
    """Parameters of a jump: crouch, push off, fly, land."""

    crouch_length: float = 0.11  # [m] leg length before the push
    crouch_time: float = 0.34  # [s] after which the push starts at the latest
    push_length: float = 0.416  # [m] target leg length of the push
    push_ahead: float = 0.038  # [m] foot position before the hips during the push
    release_height: float = 0.359  # [m] trunk height at which the push ends
    fly_length: float = 0.33  # [m] leg length in the air
    land_height: float = 0.42  # [m] trunk height below which the legs prepare to land
    land_length: float = 0.259  # [m] leg length in landing
    land_time: float = 0.049  # [s] of landing
    pitch_gain: float = 0.085  # [m] by which the lower end is raised, per sine of the pitch
    roll_gain: float = 0.115  # [m] by which the lower side is raised, per sine of the roll
    drift_gain: float = 0.068  # [s] foot placement ahead per m/s of drift


class JumpController(_ScriptedController):
    """Jumps repeatedly and corrects drift by where the feet land."""

    def __init__(self, envs: gym.vector.VectorEnv, jump: Jump) -> None:
        super().__init__(envs)
        self._jump, self._phase = jump, np.zeros(self._num_envs, np.int64)  # crouch, push, fly, land

    def reset(self, mask: np.ndarray) -> None:
        """Start with a crouch in the sub-environments of `mask` (n,) bool."""
        super().reset(mask)
        self._phase[mask] = 0

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 12)."""
        jump, height = self._jump, self._robot.torso_height()
        (forward, sideways, upward), up, spin = self._trunk_state()
        self._time += self._step
        self._update_phase(height, upward[:, 0])
        crouching, pushing, flying = (self._phase[:, None] == phase for phase in range(3))
        free = ~(crouching | pushing)
        lengths = np.array([jump.crouch_length, jump.push_length, jump.fly_length, jump.land_length])
        length = lengths[self._phase][:, None]
        tilt = np.where(flying, 0.0, 0.006 * spin[1] - jump.pitch_gain * up[0])
        z = np.clip(-length - tilt * _FRONT + jump.roll_gain * up[1] * _SIDE, -0.42, -0.1)
        landing_x = np.where(free, 0.013 + jump.drift_gain * forward, 0.0)
        x = np.where(pushing, jump.push_ahead, landing_x) + 0 * z
        y = _HIP_OFFSET * _SIDE + np.where(free, jump.drift_gain * sideways, 0.0)
        return self._action(leg_inverse_kinematics(x, y, z))

    def _update_phase(self, height: np.ndarray, upward: np.ndarray) -> None:
        """Advance the phase where its condition is met, given trunk heights [m] and upward speeds [m/s] (n,)."""
        jump, time = self._jump, self._time
        crouched = (height < jump.crouch_length + 0.03) & (np.abs(upward) < 0.3)
        done = np.choose(
            self._phase,
            [
                crouched | (time > jump.crouch_time),
                (height > jump.release_height) | (time > 0.29),
                ((upward < 0) & (height < jump.land_height)) | (time > 0.8),
                time > jump.land_time,
            ],
        )
        self._phase = np.where(done, (self._phase + 1) % 4, self._phase)
        self._time = np.where(done, 0.0, self._time)


class StandUpController(_ScriptedController):
    """Presses the lower legs against the floor until the trunk is level, tucks the feet below the hips, then rises."""

    _TUCK_LENGTH, _STAND_LENGTH = 0.12, 0.315  # [m] leg length
    _TUCK_TIME, _RISE_TIME = 0.24, 0.36  # [s]
    _LEVEL = 0.3  # cosine of the tilt above which the feet are tucked
    _LOWER_LEG = np.array([0.8, 1.0, -1.6])  # [rad] hip outward, thigh and calf of the legs on the lower side
    _UPPER_LEG = np.array([-0.3, 1.0, -1.6])  # [rad] the same, upper side
    _MAX_CHANGE = 0.3  # [rad] of a target in one step

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._targets = np.zeros((self._num_envs, 4, 3))

    def reset(self, mask: np.ndarray) -> None:
        """Start from the current joint angles in the sub-environments of `mask` (n,) bool."""
        super().reset(mask)
        self._targets[mask] = self._robot.qpos[mask, 7:].reshape(-1, 4, 3)

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, 12)."""
        _, up, _ = self._trunk_state()
        level = up[2, :, 0] > self._LEVEL
        self._time = np.where(level, self._time + self._step, 0.0)
        rise = np.clip((self._time - self._TUCK_TIME) / self._RISE_TIME, 0.0, 1.0)[:, None]
        length = self._TUCK_LENGTH + (self._STAND_LENGTH - self._TUCK_LENGTH) * rise + 0 * _SIDE
        rising = leg_inverse_kinematics(0 * length, _HIP_OFFSET * _SIDE + 0 * length, -length)
        on_lower_side = up[1] * _SIDE < 0  # (n, 4)
        pressing = np.where(on_lower_side[..., None], self._LOWER_LEG, self._UPPER_LEG)
        pressing = np.concatenate([pressing[..., :1] * _SIDE[:, None], pressing[..., 1:]], axis=-1)
        joints = np.where(level[:, None, None], rising, pressing)
        self._targets = self._targets + np.clip(joints - self._targets, -self._MAX_CHANGE, self._MAX_CHANGE)
        return self._action(self._targets)


_WALK = Gait(
    speed=1.1,
    period=0.461,
    duty=0.548,
    stride_gain=1.139,
    speed_gain=-0.139,
    front=-0.059,
    rear=-0.102,
    stance_gain=-0.030,
    stance_press=0.010,
    swing_height=0.088,
    height=0.301,
    pitch_gain=0.180,
    drift_gain=0.0,
    width=0.016,
    yaw_gain=0.017,
)
_RUN = Gait(
    speed=3.3,
    period=0.241,
    duty=0.464,
    stride_gain=1.063,
    speed_gain=-0.098,
    front=-0.051,
    rear=-0.076,
    stance_gain=-0.020,
    stance_press=0.008,
    swing_height=0.065,
    height=0.274,
    pitch_gain=0.007,
    drift_gain=-0.009,
    width=-0.010,
    yaw_gain=0.010,
)

REFERENCES = {
    "QuadrupedStand": StandUpController,
    "QuadrupedWalk": lambda envs: TrotController(envs, _WALK),
    "QuadrupedRun": lambda envs: TrotController(envs, _RUN),
    "QuadrupedJump": lambda envs: JumpController(envs, Jump()),
}
