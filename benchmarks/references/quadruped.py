"""References of the quadruped: scripted legs. A trot for walking and running, a cycle of leaps, a way to get up.

Feet are placed in the frame of the trunk and joints follow by inverse kinematics. The numbers of each gait were
found by a cross-entropy search over the true simulator, in which every lane tried numbers of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

_THIGH = 0.213  # [m] length of the thigh, and of the calf
_ASIDE = 0.08  # [m] from the hip joint out to the plane of the leg
_SIDE = np.array([-1.0, 1.0, -1.0, 1.0])  # front right, front left, rear right, rear left
_FRONT = np.array([1.0, 1.0, -1.0, -1.0])
_PAIR = np.array([0.0, 0.5, 0.5, 0.0])  # [cycles] by which legs are late in a trot


def joints_of(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(n, 4, 3) [rad] hip, thigh and calf that bring feet to places (n, 4) [m] from their hips, z downward negative."""
    down = np.sqrt(np.maximum(y * y + z * z - _ASIDE**2, 1e-4))  # in the plane of the leg
    hip = np.arctan2(y, -z) - np.arctan2(_ASIDE * _SIDE, down)
    length = np.clip(np.sqrt(x * x + down * down), 0.09, 0.42)
    calf = -np.arccos(np.clip(length * length / (2 * _THIGH**2) - 1, -1, 1))
    return np.stack([hip, np.arctan2(-x, down) - calf / 2, calf], axis=-1)


class _Scripted:
    """Privileged: it reads the pose and the velocity of the trunk."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._body, self._lanes, self._step = simulation.body, envs.num_envs, simulation.control_step
        low, high = simulation.model.actuator_ctrlrange.T.reshape(2, 4, 3)
        self._middle, self._half = (low + high) / 2, (high - low) / 2  # (4, 3)
        self._time = np.zeros(self._lanes)  # [s] in the life, or in the phase of it

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        self._time[mask] = 0.0

    def _action(self, joints: np.ndarray) -> np.ndarray:
        """(n, 12) of targets (n, 4, 3) [rad]."""
        return np.clip((joints - self._middle) / self._half, -1, 1).reshape(self._lanes, 12)

    def _senses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Velocity [m/s], the direction of up, spin [rad/s]: each (3, n, 1), as the trunk sees them."""
        state = self._body.state()
        return tuple(
            state[name].T[:, :, None] for name in ("torso_velocity", "torso_up", "torso_angular_velocity")
        )  # type: ignore[return-value]


@dataclass(frozen=True)
class Gait:
    """A trot: diagonal legs together, half a period after the other two."""

    speed: float  # [m/s] aimed at
    period: float  # [s]
    duty: float  # share of the period that a foot is on the floor
    reach: float  # stride, as a share of the way that the trunk makes meanwhile
    brake: float  # [s] by which feet are set further ahead for every m/s too much
    front: float  # [m] the middle of the stride before the hip, of the front legs
    rear: float  # [m] and of the rear legs
    push: float  # [s] by which feet on the floor lag for every m/s that is wanting
    press: float  # [m] by which they press into the floor
    lift: float  # [m] by which the others are lifted
    height: float  # [m] of the hips above the feet
    level: float  # [m] by which the lower end is raised, for the sine of the pitch
    steady: float  # [s] by which feet are set further aside for every m/s of drifting
    wide: float  # [m] by which feet stand outside the hips
    straight: float  # [m s] by which feet work against turning


class Trot(_Scripted):
    """Walk or run: feet swing to where the trunk will be, and the trunk is kept level."""

    _RAMP = 1.0  # [s] until full speed

    def __init__(self, envs: gym.vector.VectorEnv, gait: Gait) -> None:
        super().__init__(envs)
        self._gait, self._phase = gait, np.zeros(self._lanes)

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        super().reset(mask)
        self._phase[mask] = 0.0

    def act(self, observation: Any) -> np.ndarray:
        """(n, 12)."""
        gait = self._gait
        (ahead, aside, _), up, spin = self._senses()
        wanted = gait.speed * np.minimum(1.0, (self._time + self._step) / self._RAMP)[:, None]
        phase = (self._phase[:, None] + _PAIR) % 1.0  # (n, 4)
        stands = phase < gait.duty
        swung = 0.5 - 0.5 * np.cos(np.pi * np.clip((phase - gait.duty) / (1 - gait.duty), 0, 1))
        lifted = np.sin(np.pi * np.clip((phase - gait.duty) / (1 - gait.duty), 0, 1))
        share = np.where(stands, 1 - 2 * phase / gait.duty, 2 * swung - 1)  # of half a stride
        stance = gait.duty * gait.period / 2  # [s]
        stride = np.clip(ahead * stance * gait.reach + gait.brake * (ahead - wanted), -0.22, 0.22)
        x = stride * share + np.where(_FRONT > 0, gait.front, gait.rear)
        x = x + gait.push * np.where(stands, wanted - ahead, 0.0)
        y = (_ASIDE + gait.wide) * _SIDE + aside * (stance + gait.steady) * share
        y = y + gait.straight * spin[2] * _FRONT * np.where(stands, 1, -1)
        floor = -gait.press * np.sin(np.pi * phase / gait.duty) + gait.level * up[0] * _FRONT
        z = -gait.height + np.where(stands, floor, gait.lift * lifted)
        self._time += self._step
        self._phase = (self._phase + self._step / gait.period) % 1.0
        return self._action(joints_of(x, y, z))


@dataclass(frozen=True)
class Leap:
    """Crouch, push, fly, land."""

    crouch: float = 0.11  # [m] leg length before pushing
    ready: float = 0.34  # [s] after which it pushes at the latest
    push: float = 0.416  # [m] leg length aimed at while pushing
    ahead: float = 0.038  # [m] by which feet push before the hips
    release: float = 0.359  # [m] trunk height at which pushing ends
    fly: float = 0.33  # [m] leg length in the air
    touch: float = 0.42  # [m] trunk height at which it makes ready to land
    land: float = 0.259  # [m] leg length in landing
    soften: float = 0.049  # [s] of landing
    level: float = 0.085  # [m] by which the lower end is raised, for the sine of the pitch
    even: float = 0.115  # [m] by which the lower side is, for the sine of the roll
    catch: float = 0.068  # [s] by which feet are set ahead for every m/s of drifting


class Leaps(_Scripted):
    """Jump again and again, catching each drift by where the feet land."""

    def __init__(self, envs: gym.vector.VectorEnv, leap: Leap) -> None:
        super().__init__(envs)
        self._leap, self._phase = leap, np.zeros(self._lanes, np.int64)

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        super().reset(mask)
        self._phase[mask] = 0

    def act(self, observation: Any) -> np.ndarray:
        """(n, 12)."""
        leap, height = self._leap, self._body.torso_height()
        (ahead, aside, rising), up, spin = self._senses()
        self._time += self._step
        self._go_on(height, rising[:, 0])
        crouching, pushing, flying = (self._phase[:, None] == phase for phase in range(3))
        free = ~(crouching | pushing)
        length = np.array([leap.crouch, leap.push, leap.fly, leap.land])[self._phase][:, None]
        tilt = np.where(flying, 0.0, 0.006 * spin[1] - leap.level * up[0])
        z = np.clip(-length - tilt * _FRONT + leap.even * up[1] * _SIDE, -0.42, -0.1)
        x = np.where(pushing, leap.ahead, np.where(free, 0.013 + leap.catch * ahead, 0.0)) + 0 * z
        y = _ASIDE * _SIDE + np.where(free, leap.catch * aside, 0.0)
        return self._action(joints_of(x, y, z))

    def _go_on(self, height: np.ndarray, rising: np.ndarray) -> None:
        """Into the next phase, in the lanes where it is time; heights [m] and speeds upward [m/s] (n,)."""
        leap, time = self._leap, self._time
        low = (height < leap.crouch + 0.03) & (np.abs(rising) < 0.3)
        done = np.choose(
            self._phase,
            [
                low | (time > leap.ready),
                (height > leap.release) | (time > 0.29),
                ((rising < 0) & (height < leap.touch)) | (time > 0.8),
                time > leap.soften,
            ],
        )
        self._phase = np.where(done, (self._phase + 1) % 4, self._phase)
        self._time = np.where(done, 0.0, self._time)


class GetUp(_Scripted):
    """Press the legs against the floor until the trunk is level, tuck the feet below the hips, then stretch."""

    _TUCKED, _STANDING = 0.12, 0.315  # [m] leg length
    _TUCK, _RISE = 0.24, 0.36  # [s] it takes to tuck the feet, and to stretch
    _LEVEL = 0.3  # cosine of the roll from which it tucks
    _PRESSING = np.array([0.8, 1.0, -1.6])  # [rad] hip outward, thigh and calf of the lower legs
    _FOLDED = np.array([-0.3, 1.0, -1.6])  # [rad] of the upper ones
    _QUICK = 0.3  # [rad] by which targets change in a step

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._targets = np.zeros((self._lanes, 4, 3))

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        super().reset(mask)
        self._targets[mask] = self._body.qpos[mask, 7:].reshape(-1, 4, 3)

    def act(self, observation: Any) -> np.ndarray:
        """(n, 12)."""
        _, up, _ = self._senses()
        level = up[2, :, 0] > self._LEVEL
        self._time = np.where(level, self._time + self._step, 0.0)
        share = np.clip((self._time - self._TUCK) / self._RISE, 0.0, 1.0)[:, None]
        down = self._TUCKED + (self._STANDING - self._TUCKED) * share + 0 * _SIDE
        stretched = joints_of(0 * down, _ASIDE * _SIDE + 0 * down, -down)
        lower = up[1] * _SIDE < 0  # (n, 4)
        pressing = np.where(lower[..., None], self._PRESSING, self._FOLDED)
        pressing = np.concatenate([pressing[..., :1] * _SIDE[:, None], pressing[..., 1:]], axis=-1)
        wanted = np.where(level[:, None, None], stretched, pressing)
        self._targets = self._targets + np.clip(wanted - self._targets, -self._QUICK, self._QUICK)
        return self._action(self._targets)


_WALK = Gait(
    1.1, 0.461, 0.548, 1.139, -0.139, -0.059, -0.102, -0.030, 0.010, 0.088, 0.301, 0.180, 0.0, 0.016, 0.017
)
_RUN = Gait(
    3.3,
    0.241,
    0.464,
    1.063,
    -0.098,
    -0.051,
    -0.076,
    -0.020,
    0.008,
    0.065,
    0.274,
    0.007,
    -0.009,
    -0.010,
    0.010,
)

REFERENCES = {
    "QuadrupedStand": GetUp,
    "QuadrupedWalk": lambda envs: Trot(envs, _WALK),
    "QuadrupedRun": lambda envs: Trot(envs, _RUN),
    "QuadrupedJump": lambda envs: Leaps(envs, Leap()),
}
