"""Mocap bodies moved by actions: a step moves each of them a little way within its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robossl.core.errors import UsageError

from .mujoco_setup import load_mujoco

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

MODES = ("position", "pose")
_SPEED = 0.5  # [extents of the model per s] of an action of 1
_TURN_RATE = np.pi / 2  # [rad/s] of an action of 1


def mocap_mode(model: MjModel, mocap: str | bool | None) -> str | None:
    """Return "position", "pose" or None.

    Args:
        model: The model.
        mocap: True or "position" moves mocap bodies, "pose" also turns them; None, False or "none" leaves them.
    """
    if mocap is None or mocap is False or mocap == "none":
        return None
    mode = "position" if mocap is True else mocap
    if mode not in MODES:
        raise UsageError(f"unknown mocap {mocap!r}; available: {', '.join(MODES)}, none")
    if not model.nmocap:
        raise UsageError(
            f"expected a model with mocap bodies for mocap={mocap!r}, got one without; leave it out"
        )
    return mode


def mocap_home(model: MjModel, keyframe: int) -> np.ndarray:
    """Return the positions (nmocap, 3) [m] of the mocap bodies at the start of an episode."""
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    if keyframe >= 0:
        mujoco.mj_resetDataKeyframe(model, data, keyframe)
    return np.array(data.mocap_pos)


class MocapAction:
    """Moves the mocap bodies of a batch.

    Actions are velocities: 1 moves a body half the extent of the model in a second, and with "pose" turns it by 90
    degrees in a second. Bodies stay within one extent of where they start.

    Args:
        model: The model.
        batch: The batch.
        keyframe: Number of the keyframe at the start of an episode; -1 for none.
        mode: "position" or "pose".
        seconds: Duration of a control step [s].
    """

    def __init__(self, model: MjModel, batch: Batch, keyframe: int, mode: str, seconds: float) -> None:
        self._bodies = int(model.nmocap)
        self._position, self._rotation = batch.bind("mocap_pos"), batch.bind("mocap_quat")
        home, reach = mocap_home(model, keyframe), float(model.stat.extent)
        self._low, self._high = home - reach, home + reach
        self._distance, self._angle = _SPEED * reach * seconds, _TURN_RATE * seconds
        self._turns = mode == "pose"
        self.size = self._bodies * (6 if self._turns else 3)

    def apply(self, action: np.ndarray, env_ids: np.ndarray | None) -> None:
        """Move the bodies of sub-environments `env_ids` (None: all) by actions (n, size) in [-1, 1]."""
        rows = slice(None) if env_ids is None else env_ids
        parts = action[rows].reshape(-1, self._bodies, self.size // self._bodies)
        moved = self._position[rows] + self._distance * parts[..., :3]
        self._position[rows] = np.clip(moved, self._low, self._high)
        if self._turns:
            self._rotation[rows] = _turned(self._rotation[rows], self._angle * parts[..., 3:])


def _turned(quaternion: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return unit quaternions (..., 4) turned by rotation vectors (..., 3) [rad] of the world."""
    x, y, z = np.moveaxis(turn, -1, 0)
    angle = np.sqrt(x * x + y * y + z * z)
    share = 0.5 * np.sinc(angle / (2 * np.pi))  # sin(angle / 2) / angle
    a, (b, c, d) = np.cos(angle / 2), (share * x, share * y, share * z)
    e, f, g, h = np.moveaxis(quaternion, -1, 0)
    product = (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )
    result = np.stack(product, axis=-1)
    length = np.sqrt(
        (result[..., 0] ** 2 + result[..., 1] ** 2) + (result[..., 2] ** 2 + result[..., 3] ** 2)
    )
    return result / length[..., None]
