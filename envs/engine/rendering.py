"""Pictures of physics rows: the offscreen renderer, quick where the CPU draws."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .gl_context import OpenGL
from .mujoco_setup import load_mujoco
from .task import Marker
from .visual_randomizer import Look, VisualRandomizer

_NOMINAL: Look = MappingProxyType({})
_SMALL = 128  # [pixels] below which facets are not seen
_PLANE = 1000.0  # [m] half the size of what stands for an infinite plane
_MAX_GEOMS = 2000  # in one picture
_OFFSCREEN = 1  # mjFB_OFFSCREEN
_ALL = 7  # mjCAT_ALL: what moves, what stands still, and decoration


class Renderer:
    """Draws physics rows of a model through a named camera (None: the model's first), `size` = (H, W) pixels.

    Without `soft` there are no shadows, no reflections, no smoothed edges, which are nine tenths of the time
    where the CPU draws; `soft=None` is soft where a GPU draws. The picture is a function of row and markers.
    """

    _opengl: OpenGL | None = None  # where it draws, once it does
    _drawing: Any = None

    def __init__(self, model: Any, camera: str | None, size: Sequence[int], soft: bool | None = None) -> None:
        self.size = self._height, self._width = checked_size(size)
        self._camera = camera_id(model, camera)
        self._original = model
        self._soft = soft

    def frame(self, row: np.ndarray, markers: Sequence[Marker] = (), look: Look = _NOMINAL) -> np.ndarray:
        """(H, W, 3) uint8 of a physics row (P,), with `markers`, in a world that looks like `look`."""
        with self._opened().current():
            return self._draw(row, markers, look)

    def frames(self, rows: Iterable[np.ndarray], looks: Iterable[Look]) -> np.ndarray:
        """(n, H, W, 3) uint8 of physics rows, each in a world of its look."""
        with self._opened().current():
            return np.stack([self._draw(row, (), look) for row, look in zip(rows, looks)])

    def _draw(self, row: np.ndarray, markers: Sequence[Marker], look: Look) -> np.ndarray:
        mujoco = load_mujoco()
        self._wardrobe.wear(look)
        self._pose(mujoco, row)
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, self._perturb, self._view, _ALL, self._scene
        )
        self._wardrobe.hold(self._scene)
        for marker in markers:
            add_marker(self._scene, marker)
        picture = np.empty((self._height, self._width, 3), np.uint8)
        mujoco.mjr_setBuffer(_OFFSCREEN, self._drawing)  # else what another drawing left changes this picture
        mujoco.mjr_render(self._rectangle, self._scene, self._drawing)
        mujoco.mjr_readPixels(picture, None, self._rectangle, self._drawing)
        return picture[::-1].copy()  # OpenGL begins at the bottom

    def open(self) -> str:
        """Begin to draw, if not yet done; who draws."""
        return self._opened().name

    def _opened(self) -> OpenGL:
        here = OpenGL.here()
        if self._opengl is not here:
            with here.current():
                self._begin(here)
        return here

    def _begin(self, opengl: OpenGL) -> None:
        mujoco = load_mujoco()
        model = self._model = copy.copy(self._original)
        model.vis.global_.offwidth, model.vis.global_.offheight = self._width, self._height
        if not (self._soft if self._soft is not None else not opengl.software):
            simplify_scene(model, small=max(self.size) <= _SMALL)
        self._wardrobe = VisualRandomizer(model)
        self._data = mujoco.MjData(model)
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._view = mujoco.MjvCamera()
        if self._camera < 0:
            mujoco.mjv_defaultFreeCamera(model, self._view)
        else:
            self._view.type, self._view.fixedcamid = int(mujoco.mjtCamera.mjCAMERA_FIXED), self._camera
        self._rectangle = mujoco.MjrRect(0, 0, self._width, self._height)
        self._drawing = opengl.prepare(model)
        self._opengl = opengl

    def _pose(self, mujoco: Any, row: np.ndarray) -> None:
        """Bring everything that is drawn to where the row says."""
        model, data = self._model, self._data
        mujoco.mj_setState(model, data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        if model.ntendon:
            mujoco.mj_tendon(model, data)
        if model.nflex:
            mujoco.mj_flex(model, data)

    def close(self) -> None:
        """Give the memory on the GPU back."""
        if self._opengl is not None:
            self._opengl.discard(self._drawing)
        self._opengl = self._drawing = None

    def __del__(self) -> None:
        self.close()


def simplify_scene(model: Any, small: bool) -> None:
    """Leave out of a renderer's model what takes nearly all the time and is hardly seen.

    Shadows, smooth edges and reflections; in `small` pictures also the facets of round things; and of infinite
    planes, each of 40,000 squares to MuJoCo, all but a few, where neither texture nor lamps would tell.
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
        told = material >= 0 and (model.mat_texid[material] >= 0).any() and not model.mat_texuniform[material]
        if (model.geom_size[plane, :2] == 0).all() and not told:
            model.geom_size[plane] = [_PLANE, _PLANE, _PLANE / 4]


def checked_size(size: Any) -> tuple[int, int]:
    """(H, W) of a picture."""
    values = np.asarray(size)
    if values.shape != (2,) or values.dtype.kind not in "iu" or values.min() < 1 or values.max() > 4096:
        raise UsageError(f"expected a picture of (height, width) pixels, each 1 to 4096, got {size!r}")
    return int(values[0]), int(values[1])


def camera_id(model: Any, camera: str | None) -> int:
    """The number of a named camera; -1 (one that shows everything) for None where the model has none."""
    names = [model.camera(number).name for number in range(model.ncam)]
    if camera is None:
        return 0 if names else -1
    if camera not in names:
        raise unknown_name_error("camera", camera, names)
    return names.index(camera)


def add_marker(scene: Any, marker: Marker) -> None:
    """Append a marker to an mjvScene."""
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
