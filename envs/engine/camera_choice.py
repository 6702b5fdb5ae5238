"""Choice of the camera that renders a robot file: the first that sees the robot, else a view of the whole scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .mujoco_setup import load_batch, load_mujoco
from .rendering import FREE_CAMERA, camera_names

if TYPE_CHECKING:
    from mujoco import MjModel

_RAYS = 25  # in each direction of an image
_SHARES = 0.002, 0.95  # of the image that the robot must cover; more is the inside of one part
_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # geom groups that MuJoCo renders


def default_camera(model: MjModel, qpos: np.ndarray) -> str:
    """Return the name of the first camera that sees the moving parts of the model; FREE_CAMERA if none does.

    Args:
        model: The model.
        qpos: Pose (nq,) of the robot.
    """
    for name, share in zip(camera_names(model), robot_shares(model, qpos)):
        if _SHARES[0] <= share <= _SHARES[1]:
            return name
    return FREE_CAMERA


def robot_shares(model: MjModel, qpos: np.ndarray) -> np.ndarray:
    """Return the share (ncam,) of the image of each camera that shows moving parts, measured by rays.

    Parts of the body that carries the camera do not count: they surround it, or hide the rest.
    """
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    batch = load_batch().Batch(model, 1, 1)
    batch.bind("qpos")[:] = qpos
    shares = np.zeros(model.ncam)
    for camera in range(model.ncam):
        rotation = data.cam_xmat[camera].reshape(3, 3)
        rays = _directions(float(model.cam_fovy[camera])) @ rotation.T  # (R, 3)
        body = int(model.cam_bodyid[camera])
        _, hits = batch.ray(data.cam_xpos[camera], rays, _GROUPS, bodyexclude=body if body else -1)
        seen = hits[0][hits[0] >= 0]
        shares[camera] = np.count_nonzero(model.body_weldid[model.geom_bodyid[seen]]) / len(rays)
    return shares


def _directions(fovy: float) -> np.ndarray:
    """Return the directions (R, 3) of the pixels of a square image of angle `fovy` [degrees], seen from the camera."""
    half = np.tan(np.radians(fovy) / 2)
    steps = np.linspace(-half, half, _RAYS)
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, -1.0)], axis=1)
