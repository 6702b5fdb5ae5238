"""Offscreen rendering of physics states, with reduced quality where the CPU renders."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .gl_context import OpenGL
from .mujoco_setup import load_mujoco
from .task import Marker
from .visual_randomizer import VisualParameters, VisualRandomizer

if TYPE_CHECKING:
    from mujoco import MjModel, MjrContext, MjvScene

_NOMINAL: VisualParameters = MappingProxyType({})
_SMALL = 128  # [pixels] image size up to which the facets of round geoms are invisible
_PLANE = 1000.0  # [m] half size of the plane that replaces an infinite one
_MAX_GEOMS = 2000  # in one image
_OFFSCREEN = 1  # mjFB_OFFSCREEN
_AMBIENT, _DIFFUSE = 0.1, 0.4  # MuJoCo's headlight
FREE_CAMERA = "free"  # a view of the whole scene
_ALL = 7  # mjCAT_ALL: moving geoms, static geoms and decoration


class Renderer:
    """Renders physics states of a model; an image depends on the state, the markers and the visual parameters only.

    Args:
        model: The model.
        camera: Name of the camera; None takes the model's first.
        size: Image size (height, width) [pixels].
        high_quality: Shadows, reflections and smoothed edges, which take 90 % of the time where the CPU renders. None
            renders them with a GPU only.
    """

    _opengl: OpenGL | None = None  # set by the first image
    _context: MjrContext | None = None

    def __init__(
        self, model: MjModel, camera: str | None, size: Sequence[int], high_quality: bool | None = None
    ) -> None:
        self.size = self._height, self._width = check_image_size(size)
        self._camera = camera_id(model, camera)
        self._original = model
        self._high_quality = high_quality

    def frame(
        self, physics: np.ndarray, markers: Sequence[Marker] = (), visuals: VisualParameters = _NOMINAL
    ) -> np.ndarray:
        """Return an image (H, W, 3) uint8 of a physics state (P,)."""
        with self._open().current():
            return self._render(physics, markers, visuals)

    def frames(self, physics: Iterable[np.ndarray], visuals: Iterable[VisualParameters]) -> np.ndarray:
        """Return images (n, H, W, 3) uint8 of n physics states (P,) with their visual parameters."""
        with self._open().current():
            return np.stack([self._render(state, (), v) for state, v in zip(physics, visuals)])

    def _render(
        self, physics: np.ndarray, markers: Sequence[Marker], visuals: VisualParameters
    ) -> np.ndarray:
        mujoco = load_mujoco()
        self._visual_randomizer.apply(visuals)
        self._set_state(mujoco, physics)
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, self._perturb, self._view, _ALL, self._scene
        )
        self._visual_randomizer.apply_camera_roll(self._scene)
        for marker in markers:
            add_marker(self._scene, marker)
        image = np.empty((self._height, self._width, 3), np.uint8)
        # without this, the state of another context changes the image
        mujoco.mjr_setBuffer(_OFFSCREEN, self._context)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        return image[::-1].copy()  # the first row of OpenGL is at the bottom

    def open(self) -> str:
        """Open the renderer if it is closed; return the name of the backend and driver."""
        return self._open().name

    def _open(self) -> OpenGL:
        opengl = OpenGL.of_this_thread()
        if self._opengl is not opengl:
            with opengl.current():
                self._create_context(opengl)
        return opengl

    def _create_context(self, opengl: OpenGL) -> None:
        mujoco = load_mujoco()
        model = self._model = copy.copy(self._original)
        model.vis.global_.offwidth, model.vis.global_.offheight = self._width, self._height
        if not (self._high_quality if self._high_quality is not None else not opengl.software):
            simplify_scene(model, small=max(self.size) <= _SMALL)
        light_if_dark(model)
        self._visual_randomizer = VisualRandomizer(model)
        self._data = mujoco.MjData(model)
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._view = mujoco.MjvCamera()
        if self._camera < 0:
            mujoco.mjv_defaultFreeCamera(model, self._view)
        else:
            self._view.type, self._view.fixedcamid = int(mujoco.mjtCamera.mjCAMERA_FIXED), self._camera
        self._rectangle = mujoco.MjrRect(0, 0, self._width, self._height)
        self._context = opengl.create_context(model)
        self._opengl = opengl

    def _set_state(self, mujoco: ModuleType, physics: np.ndarray) -> None:
        """Set the rendered data to a physics state and compute the poses of everything visible."""
        model, data = self._model, self._data
        mujoco.mj_setState(model, data, physics, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        if model.ntendon:
            mujoco.mj_tendon(model, data)
        if model.nflex:
            mujoco.mj_flex(model, data)

    def close(self) -> None:
        """Free the GPU memory; the next image opens the renderer again."""
        if self._opengl is not None:
            self._opengl.discard_context(self._context)
        self._opengl = self._context = None

    def __del__(self) -> None:
        self.close()


def simplify_scene(model: MjModel, small: bool) -> None:
    """Remove from a renderer's model what takes most of the rendering time and is hardly visible.

    Removes shadows, smoothed edges and reflections; in `small` images also facets of round geoms; and most of the
    40,000 squares of an infinite plane, where neither texture nor lights make a difference.
    """
    mujoco = load_mujoco()
    quality = model.vis.quality
    quality.shadowsize = quality.offsamples = 0
    model.mat_reflectance[:] = 0
    if small:
        quality.numslices, quality.numstacks = min(quality.numslices, 16), min(quality.numstacks, 8)
    if not (model.light_type == int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)).all():
        return
    for plane in np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)):
        material = model.geom_matid[plane]
        textured = (
            material >= 0 and (model.mat_texid[material] >= 0).any() and not model.mat_texuniform[material]
        )
        if (model.geom_size[plane, :2] == 0).all() and not textured:
            model.geom_size[plane] = [_PLANE, _PLANE, _PLANE / 4]


def check_image_size(size: Any) -> tuple[int, int]:
    """Return an image size as (height, width) [pixels]."""
    values = np.asarray(size)
    if values.shape != (2,) or values.dtype.kind not in "iu" or values.min() < 1 or values.max() > 4096:
        raise UsageError(f"expected an image size (height, width), each 1 to 4096 pixels, got {size!r}")
    return int(values[0]), int(values[1])


def camera_names(model: MjModel) -> list[str]:
    """Return the names of the cameras of a model; the number where the file gives none."""
    return [model.camera(number).name or str(number) for number in range(model.ncam)]


def camera_id(model: MjModel, camera: str | None) -> int:
    """Return the index of a named camera.

    None means the first camera. FREE_CAMERA, and None in a model without cameras, is -1: a view of the whole scene.
    """
    names = camera_names(model)
    if camera is None:
        return 0 if names else -1
    if str(camera) in names:
        return names.index(str(camera))
    if camera == FREE_CAMERA:
        return -1
    raise unknown_name_error("camera", camera, [*names, FREE_CAMERA])


def is_dark(model: MjModel) -> bool:
    """Return whether a model has no light at all."""
    headlight = model.vis.headlight
    is_lit = headlight.active and (headlight.ambient.any() or headlight.diffuse.any())
    return not is_lit and not (model.nlight and model.light_active.any())


def light_if_dark(model: MjModel) -> None:
    """Switch the headlight of a renderer's model on if the model has no light at all."""
    headlight = model.vis.headlight
    if is_dark(model):
        headlight.active = 1
        headlight.ambient[:], headlight.diffuse[:] = _AMBIENT, _DIFFUSE


def add_marker(scene: MjvScene, marker: Marker) -> None:
    """Append a marker to a scene."""
    mujoco = load_mujoco()
    size = np.zeros(3)
    size[: len(marker.size)] = marker.size
    rotation = np.eye(3) if marker.rotation is None else marker.rotation
    shape = getattr(mujoco.mjtGeom, f"mjGEOM_{marker.shape.upper()}")
    color = np.asarray(marker.color, np.float32)
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(geom, shape, size, marker.position, rotation.reshape(-1), color)
    geom.transparent = 1
    geom.castshadow = 0
    scene.ngeom += 1
