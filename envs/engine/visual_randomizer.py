"""How a world looks: colours, light, camera and texture of a renderer's own model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Look = Mapping[str, float]  # values of the factors that change pictures; what is missing is nominal

_FIELDS = ("geom_rgba", "mat_rgba", "mat_texrepeat", "light_diffuse", "light_specular", "cam_fovy")
_HEADLIGHT = ("ambient", "diffuse", "specular")


class VisualRandomizer:
    """Dresses a model, which is a renderer's own, in one look after another."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._nominal = {name: np.array(getattr(model, name)) for name in _FIELDS}
        self._headlight = {name: np.array(getattr(model.vis.headlight, name)) for name in _HEADLIGHT}
        self._field_of_view = float(model.vis.global_.fovy)
        self._worn: Look = {}

    def wear(self, look: Look) -> None:
        """Make the model look so."""
        if look == self._worn:
            return
        self._worn = dict(look)
        model, nominal = self._model, self._nominal
        turn = turned(look.get("color_hue", 0.0))  # (3, 3)
        for name in ("geom_rgba", "mat_rgba"):
            getattr(model, name)[:, :3] = np.clip(nominal[name][:, :3] @ turn.T, 0, 1)
        model.mat_texrepeat[:] = nominal["mat_texrepeat"] * look.get("texture_scale", 1.0)
        light, zoom = look.get("light", 1.0), look.get("camera_zoom", 1.0)
        for name in ("light_diffuse", "light_specular"):
            getattr(model, name)[:] = nominal[name] * light
        for name, value in self._headlight.items():
            getattr(model.vis.headlight, name)[:] = value * light
        model.cam_fovy[:] = zoomed(nominal["cam_fovy"], zoom)
        model.vis.global_.fovy = float(zoomed(np.array(self._field_of_view), zoom))

    def hold(self, scene: Any) -> None:
        """Turn the camera of a scene as the look says."""
        roll = math.radians(self._worn.get("camera_roll", 0.0))
        if roll == 0.0:
            return
        for camera in scene.camera:
            forward, up = np.array(camera.forward), np.array(camera.up)
            camera.up = math.cos(roll) * up + math.sin(roll) * np.cross(forward, up)


def turned(hue: float) -> np.ndarray:
    """(3, 3): the matrix that turns colours by `hue` [degrees] about the grey axis; greys stay."""
    if hue == 0.0:
        return np.eye(3)
    angle = math.radians(hue)
    grey = np.full((3, 3), (1 - math.cos(angle)) / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * (math.sin(angle) / math.sqrt(3))
    return grey + across + math.cos(angle) * np.eye(3)


def zoomed(field_of_view: np.ndarray, zoom: float) -> np.ndarray:
    """The vertical field of view [degrees] of a lens `zoom` times as long."""
    if zoom == 1.0:
        return field_of_view
    return np.degrees(2 * np.arctan(np.tan(np.radians(field_of_view) / 2) / zoom))
