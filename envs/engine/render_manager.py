"""Rendering for users: RGB frames with goal markers, or MuJoCo's own viewer."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import OperationError, UsageError, WindowClosedError

from .mujoco_setup import headless, load_mujoco
from .rendering import Renderer, add_marker, camera_id
from .task import GoalTask, Marker

if TYPE_CHECKING:
    from .simulation import Simulation

_CLOSE_TIMEOUT = 5.0  # [s] for the viewer's threads to end
_MODES = (None, "human", "rgb_array")


class RenderManager:
    """Renders the sub-environments of a simulation according to `render_mode`.

    Args:
        simulation: The simulation to render.
        mode: "rgb_array" for frames, "human" for the viewer, None for no rendering.
        camera: Name of the camera; None takes the first.
        size: Size (height, width) of frames [pixels].
    """

    def __init__(
        self, simulation: Simulation, mode: str | None, camera: str | None, size: tuple[int, int]
    ) -> None:
        if mode not in _MODES:
            raise UsageError(f"unknown render_mode {mode!r}; available: None, 'human', 'rgb_array'")
        self.mode = mode
        self._simulation = simulation
        self._camera = None if camera is None else camera_id(simulation.model, camera)
        self._renderer = Renderer(simulation.model, camera, size)
        self._viewer: Any = None
        self._viewer_threads: list[threading.Thread] = []
        self._data: Any = None

    def frame(self, env_index: int) -> np.ndarray | None:
        """Return a frame (H, W, 3) uint8 of a sub-environment; None unless the mode is "rgb_array"."""
        if self.mode != "rgb_array":
            return None
        visuals = next(iter(self._simulation.randomization.visuals([env_index])))
        physics = self._simulation.batch.state[env_index]
        return self._renderer.frame(physics, self._markers(env_index), visuals)

    def update(self, env_index: int = 0) -> None:
        """Show the current state in the viewer if the mode is "human"; the first call opens it.

        Raises:
            OperationError: There is no display.
            WindowClosedError: The user closed the window.
        """
        if self.mode != "human":
            return
        if self._viewer is not None and not self._viewer.is_running():
            raise WindowClosedError("the window was closed")
        mujoco = load_mujoco()
        model = self._simulation.model
        if self._data is None:
            self._data = mujoco.MjData(model)
        self._simulation.batch.get_data(env_index, self._data)
        mujoco.mj_forward(model, self._data)
        if self._viewer is None:
            self._viewer = self._open_viewer()
        with self._viewer.lock():
            self._viewer.user_scn.ngeom = 0
            for marker in self._markers(env_index):
                add_marker(self._viewer.user_scn, marker)
        self._viewer.sync()

    def _open_viewer(self) -> Any:
        if headless() or not _can_open_windows():
            raise OperationError(
                "no display to open a window on; a video needs none: robossl play --video FILE.mp4, "
                "or render_mode='rgb_array'"
            )
        import mujoco.viewer

        before = set(threading.enumerate())
        try:
            viewer = mujoco.viewer.launch_passive(
                self._simulation.model, self._data, show_left_ui=False, show_right_ui=False
            )
        except RuntimeError as error:  # macOS without mjpython
            raise OperationError(f"MuJoCo's viewer cannot be opened: {error}") from error
        self._viewer_threads = [thread for thread in threading.enumerate() if thread not in before]
        if self._camera is not None:
            viewer.cam.type, viewer.cam.fixedcamid = int(mujoco.mjtCamera.mjCAMERA_FIXED), self._camera
        return viewer

    def _markers(self, env_index: int) -> list[Marker]:
        task = self._simulation.task
        return task.markers(self._simulation.goal(env_index)) if isinstance(task, GoalTask) else []

    def close(self) -> None:
        """Free the renderer and close the viewer."""
        self._renderer.close()
        if self._viewer is not None:
            self._viewer.close()
            for (
                thread
            ) in self._viewer_threads:  # wait for them, because the program may exit right after this
                thread.join(_CLOSE_TIMEOUT)
        self._viewer, self._viewer_threads = None, []


def _can_open_windows() -> bool:
    """Return whether the display can be reached; MuJoCo would end the process where it cannot."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)
        return bool(glfw.init())
