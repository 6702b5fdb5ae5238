"""Visual domain randomization: colors, light, camera and texture of a renderer's copy of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mujoco import MjModel, MjvScene

VisualParameters = Mapping[str, float]  # values of the visual parameters; missing ones are nominal

_FIELDS = ("geom_rgba", "mat_rgba", "mat_texrepeat", "light_diffuse", "light_specular", "cam_fovy")
_HEADLIGHT = ("ambient", "diffuse", "specular")


class VisualRandomizer:
    """Writes visual parameters into a renderer's copy of the model.

    Args:
        model: The model; it must not be shared with the physics.
    """

    def __init__(self, model: MjModel) -> None:
        self._model = model
        self._nominal = {name: np.array(getattr(model, name)) for name in _FIELDS}
        self._headlight = {name: np.array(getattr(model.vis.headlight, name)) for name in _HEADLIGHT}
        self._field_of_view = float(model.vis.global_.fovy)  # [degrees]
        self._applied: VisualParameters = {}

    def apply(self, visuals: VisualParameters) -> None:
        """Set the model to `visuals`, unless they are applied already."""
        if visuals == self._applied:
            return
        self._applied = dict(visuals)
        model, nominal = self._model, self._nominal
        rotation = hue_rotation(visuals.get("color_hue", 0.0))  # (3, 3)
        for name in ("geom_rgba", "mat_rgba"):
            getattr(model, name)[:, :3] = np.clip(nominal[name][:, :3] @ rotation.T, 0, 1)
        model.mat_texrepeat[:] = nominal["mat_texrepeat"] * visuals.get("texture_scale", 1.0)
        light, zoom = visuals.get("light", 1.0), visuals.get("camera_zoom", 1.0)
        for name in ("light_diffuse", "light_specular"):
            getattr(model, name)[:] = nominal[name] * light
        for name, value in self._headlight.items():
            getattr(model.vis.headlight, name)[:] = value * light
        model.cam_fovy[:] = _zoom(nominal["cam_fovy"], zoom)
        model.vis.global_.fovy = float(_zoom(np.array(self._field_of_view), zoom))

    def apply_camera_roll(self, scene: MjvScene) -> None:
        """Roll the camera of an updated scene about its optical axis."""
        roll = math.radians(self._applied.get("camera_roll", 0.0))
        if roll == 0.0:
            return
        for camera in scene.camera:
            forward, up = np.array(camera.forward), np.array(camera.up)
            camera.up = math.cos(roll) * up + math.sin(roll) * np.cross(forward, up)


def hue_rotation(hue: float) -> np.ndarray:
    """Return the matrix (3, 3) that rotates RGB colors by `hue` [degrees] about the gray axis; grays are unchanged."""
    if hue == 0.0:
        return np.eye(3)
    angle = math.radians(hue)
    gray = np.full((3, 3), (1 - math.cos(angle)) / 3)
    skew = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * (math.sin(angle) / math.sqrt(3))
    return gray + skew + math.cos(angle) * np.eye(3)


def _zoom(field_of_view: np.ndarray, zoom: float) -> np.ndarray:
    """Return the vertical field of view [degrees] of a lens with `zoom` times the focal length."""
    if zoom == 1.0:
        return field_of_view
    return np.degrees(2 * np.arctan(np.tan(np.radians(field_of_view) / 2) / zoom))
