"""Pictures of lanes: one GL context for all of them, made when the first picture is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import RequestError, WorkError, unknown

from .native import load_mujoco
from .task import GoalTask, Marker

if TYPE_CHECKING:
    from .simulation import Simulation

_MODES = (None, "human", "rgb_array")


class Renderer:
    """Draws the lanes of a simulation through a named camera (None: the model's first), goals translucent."""

    def __init__(
        self, simulation: Simulation, mode: str | None, camera: str | None, size: tuple[int, int]
    ) -> None:
        if mode not in _MODES:
            raise RequestError(f"unknown render_mode {mode!r}; there are: None, 'human', 'rgb_array'")
        model = simulation.model
        names = [model.camera(index).name for index in range(model.ncam)]
        if camera is not None and camera not in names:
            raise unknown("camera", camera, names)
        self._simulation = simulation
        self._camera: str | int = camera if camera is not None else (0 if names else -1)
        self._height, self._width = size
        self._gl: Any = None
        self._viewer: Any = None
        self._data: Any = None

    def frame(self, lane: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        if self._gl is None:
            self._gl = self._open()
        self._gl.update_scene(self._lane_data(lane), self._camera)
        self._draw_goal(self._gl.scene, lane)
        return self._gl.render()

    def _open(self) -> Any:
        mujoco = load_mujoco()
        model = self._simulation.model
        model.vis.global_.offwidth, model.vis.global_.offheight = self._width, self._height
        try:
            return mujoco.Renderer(model, self._height, self._width)
        except (AttributeError, ImportError, RuntimeError, Warning, mujoco.FatalError) as error:
            backend = os.environ.get("MUJOCO_GL", "unset")
            raise WorkError(
                f"no picture can be drawn here: OpenGL did not start with MUJOCO_GL={backend} ({error}); "
                "set MUJOCO_GL to egl, osmesa or glfw before mujoco is imported, and install that library"
            ) from error

    def _lane_data(self, lane: int) -> Any:
        """The lane's MjData with everything a picture needs."""
        mujoco = load_mujoco()
        model = self._simulation.model
        if self._data is None:
            self._data = mujoco.MjData(model)
        self._simulation.batch.get_data(lane, self._data)
        mujoco.mj_forward(model, self._data)
        return self._data

    def _draw_goal(self, scene: Any, lane: int) -> None:
        task = self._simulation.task
        if isinstance(task, GoalTask):
            for marker in task.markers(self._simulation.goal(lane)):
                _add(scene, marker)

    def show(self, lane: int) -> None:
        """Bring the lane up to date in MuJoCo's own viewer, opened on first use."""
        data = self._lane_data(lane)
        if self._viewer is None:
            import mujoco.viewer

            self._viewer = mujoco.viewer.launch_passive(self._simulation.model, data)
        with self._viewer.lock():
            self._viewer.user_scn.ngeom = 0
            self._draw_goal(self._viewer.user_scn, lane)
        self._viewer.sync()

    def close(self) -> None:
        """Free the GL context and close the window."""
        for resource in (self._gl, self._viewer):
            if resource is not None:
                resource.close()
        self._gl = self._viewer = None


def _add(scene: Any, marker: Marker) -> None:
    """Append a marker to an mjvScene."""
    mujoco = load_mujoco()
    size = np.zeros(3)
    size[: len(marker.size)] = marker.size
    rotation = np.eye(3) if marker.rotation is None else marker.rotation
    shape = getattr(mujoco.mjtGeom, f"mjGEOM_{marker.shape.upper()}")
    colour = np.asarray(marker.colour, np.float32)
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(geom, shape, size, marker.position, rotation.reshape(-1), colour)
    geom.transparent = 1
    geom.castshadow = 0
    scene.ngeom += 1
