"""References of the humanoid: scripted postures with balance. It rises from a squat, and steps from foot to foot.

Postures are given joint by joint; balance bends ankles and hips against the drift of the centre of mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

_RIGHT, _LEFT = (
    3,
    9,
)  # the first joint of each leg: hip out, hip turned, hip forward, knee, ankle up, ankle inward
_LATE = [5, 7, 11, 13]  # hips forward and ankles up
_ARMS = (15, 18)  # shoulder forward, shoulder out, elbow


class _Upright:
    """Privileged: it reads the pose, the velocity and the centre of mass."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._body, self._lanes, self._step = simulation.body, envs.num_envs, simulation.control_step
        self._centre, self._places = (simulation.batch.bind(name) for name in ("subtree_com", "xpos"))
        self._batch = simulation.batch
        self._feet = [simulation.model.body(f"{side}_foot").id for side in ("right", "left")]
        low, high = simulation.model.actuator_ctrlrange.T
        self._middle, self._half = (low + high) / 2, (high - low) / 2  # (21,)
        self._time = np.zeros(self._lanes)  # [s] in the life

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        self._time[mask] = 0.0
        self._batch.forward()

    def _action(self, joints: np.ndarray) -> np.ndarray:
        """(n, 21) of targets (n, 21) [rad]."""
        self._time += self._step
        return np.clip((joints - self._middle) / self._half, -1, 1)

    def _seen(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ahead and to the left, each (n,), as it faces, of vectors of the world (n, 2 or more)."""
        w, x, y, z = self._body.qpos[:, 3:7].T
        ahead, aside = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z)
        length = np.maximum(np.sqrt(ahead**2 + aside**2), 1e-6)
        ahead, aside = ahead / length, aside / length
        return vector[:, 0] * ahead + vector[:, 1] * aside, vector[:, 1] * ahead - vector[:, 0] * aside

    def _pitch(self) -> np.ndarray:
        """(n,) sine of how far the torso is bowed."""
        w, x, y, z = self._body.qpos[:, 3:7].T
        return 2 * (w * y - x * z)


@dataclass(frozen=True)
class Rise:
    """From a squat to standing; the numbers were found by hand, then by a cross-entropy search as those of `Step`."""

    time: Any = 0.391  # [s] it takes
    late: Any = 1.706  # power of the share by which hips and ankles stay behind the knees
    ahead: Any = 0.027  # [m] the centre of mass before the ankles
    ankle: Any = 2.399  # [rad/m], and
    ankle_damping: Any = 0.759  # [rad s/m]: toes pressed down against falling forward
    hip: Any = -0.577  # [rad/m], and
    hip_damping: Any = -0.223  # [rad s/m]: hips bent the same way
    torso: Any = 0.53  # [rad], and
    torso_damping: Any = 0.109  # [s]: hips stretched against bowing
    side: Any = 1.417  # [rad/m], and
    side_damping: Any = 0.455  # [rad s/m]: ankles turned against falling aside
    sway: Any = 1.261  # [rad/m], and
    sway_damping: Any = 0.509  # [rad s/m]: hips turned the same way
    knee: Any = 0.111  # [rad] at which it stands
    wide: Any = 0.099  # [rad] by which the legs stand apart
    bow: Any = 0.009  # [rad] added to the hips as it stands


class Riser(_Upright):
    """Stretch the joints evenly and keep the centre of mass above the feet."""

    def __init__(self, envs: gym.vector.VectorEnv, rise: Rise) -> None:
        super().__init__(envs)
        self._rise, self._start = rise, np.zeros((self._lanes, 21))

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in lanes `mask` (n,) bool."""
        super().reset(mask)
        self._start[mask] = self._body.qpos[mask, 7:]

    def act(self, observation: Any) -> np.ndarray:
        """(n, 21)."""
        rise = self._rise
        share = np.clip(self._time / rise.time, 0.0, 1.0)[:, None]
        joints = self._start * (1 - share)
        joints[:, _LATE] = self._start[:, _LATE] * (1 - share[:, 0] ** rise.late)[:, None]
        knee = rise.knee * share[:, 0]
        between = self._places[:, self._feet].mean(axis=1)
        ahead, aside = self._seen(self._centre[:, 1] - between)
        speed, drift = self._seen(self._body.qvel)
        error = ahead - rise.ahead
        ankle = rise.ankle * error + rise.ankle_damping * speed
        hip = rise.hip * error + rise.hip_damping * speed
        hip = hip - rise.torso * self._pitch() * share[:, 0] - rise.torso_damping * self._body.qvel[:, 4]
        turn = rise.side * aside + rise.side_damping * drift
        sway = rise.sway * aside + rise.sway_damping * drift
        for leg, side in ((_RIGHT, -1), (_LEFT, 1)):
            joints[:, leg] += rise.wide * share[:, 0] + side * sway
            joints[:, leg + 2] += (rise.bow + rise.knee / 2) * share[:, 0] + hip
            joints[:, leg + 3] += knee
            joints[:, leg + 4] += knee / 2 - ankle
            joints[:, leg + 5] += side * turn
        return self._action(joints)


@dataclass(frozen=True)
class Step:
    """Walking foot by foot (after Yin et al., "SIMBICON", 2007).

    The numbers were found by a cross-entropy search over the true simulator, each lane trying numbers of its own.
    """

    time: Any = 0.399  # [s] of one step
    hip: Any = 0.177  # [rad] that the swinging thigh is brought forward, and
    caught: Any = 0.394  # [rad/m] more for the centre of mass ahead of the standing foot, and
    braked: Any = 0.239  # [rad s/m] more for its speed beyond that of standing
    knee: Any = 1.24  # [rad] of the swinging leg in the first half of a step
    land: Any = 0.164  # [rad] in the second half
    stance: Any = -0.018  # [rad] of the standing knee
    back: Any = -0.058  # [rad] of the standing hip
    push: Any = 0.125  # [rad] by which the standing foot presses its toes down in the second half
    toes: Any = 0.225  # [rad] by which the swinging foot lifts them
    torso: Any = 0.864  # [rad], and
    torso_damping: Any = -0.0  # [s]: the standing hip stretched against bowing
    lean: Any = -0.005  # sine of how far the torso is to be bowed
    wide: Any = 0.06  # [rad] by which the swinging leg is set aside, and
    caught_aside: Any = 0.678  # [rad/m], and
    braked_aside: Any = 0.368  # [rad s/m] more for drifting to its side
    level: Any = 0.205  # [rad] by which the standing hip lifts the other side
    ankle: Any = 0.67  # [rad s/m] by which the standing foot presses its toes down against speed
    swing: Any = 0.285  # [rad] of the arms against the legs


class Stepper(_Upright):
    """Swing one leg to where the fall would be caught, while the other keeps the torso upright; then change."""

    def __init__(self, envs: gym.vector.VectorEnv, step: Step) -> None:
        super().__init__(envs)
        self._gait = step

    def act(self, observation: Any) -> np.ndarray:
        """(n, 21)."""
        gait, rows = self._gait, np.arange(self._lanes)
        cycle = self._time / gait.time
        left = (cycle.astype(np.int64) % 2).astype(bool)  # which leg swings
        late = cycle % 1.0 > 0.5
        swing, stance = np.where(left, _LEFT, _RIGHT), np.where(left, _RIGHT, _LEFT)
        side = np.where(left, 1.0, -1.0)  # to which the swinging leg is
        foot = self._places[rows, np.where(left, self._feet[0], self._feet[1])]
        ahead, aside = self._seen(self._centre[:, 1] - foot)
        speed, drift = self._seen(self._body.qvel)
        joints = np.zeros((self._lanes, 21))
        upright = gait.torso * (self._pitch() - gait.lean) + gait.torso_damping * self._body.qvel[:, 4]
        joints[rows, swing] = gait.wide + side * (gait.caught_aside * aside + gait.braked_aside * drift)
        joints[rows, swing + 2] = gait.hip + gait.caught * ahead + gait.braked * speed
        joints[rows, swing + 3] = np.where(late, gait.land, gait.knee)
        joints[rows, swing + 4] = gait.toes
        joints[rows, stance] = gait.level
        joints[rows, stance + 2] = gait.back - upright
        joints[rows, stance + 3] = gait.stance
        joints[rows, stance + 4] = gait.stance / 2 - gait.ankle * speed - np.where(late, gait.push, 0.0)
        for arm, with_left in zip(_ARMS, (1.0, -1.0)):
            joints[:, arm] = gait.swing * np.where(left, with_left, -with_left)
            joints[:, arm + 1], joints[:, arm + 2] = 0.1, 0.4
        return self._action(joints)


REFERENCES = {
    "HumanoidStand": lambda envs: Riser(envs, Rise()),
    "HumanoidWalk": lambda envs: Stepper(envs, Step()),
}
