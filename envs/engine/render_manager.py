"""What people see of the lanes: frames with the goals in them, or MuJoCo's own viewer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import OperationError, UsageError

from .mujoco_setup import headless, load_mujoco
from .rendering import Renderer, add_marker, camera_id
from .task import GoalTask, Marker

if TYPE_CHECKING:
    from .simulation import Simulation

_FAREWELL = 5.0  # [s] the viewer's threads may take to end
_MODES = (None, "human", "rgb_array")


class RenderManager:
    """Shows the lanes of a simulation as `mode` says: "rgb_array", "human" or not at all (None)."""

    def __init__(
        self, simulation: Simulation, mode: str | None, camera: str | None, size: tuple[int, int]
    ) -> None:
        if mode not in _MODES:
            raise UsageError(f"unknown render_mode {mode!r}; there are: None, 'human', 'rgb_array'")
        self.mode = mode
        self._simulation = simulation
        self._camera = None if camera is None else camera_id(simulation.model, camera)
        self._renderer = Renderer(simulation.model, camera, size)
        self._viewer: Any = None
        self._threads: list[threading.Thread] = []  # of MuJoCo's viewer
        self._data: Any = None

    def frame(self, lane: int) -> np.ndarray | None:
        """(H, W, 3) uint8; None unless the mode is "rgb_array"."""
        if self.mode != "rgb_array":
            return None
        look = next(iter(self._simulation.randomization.looks([lane])))
        return self._renderer.frame(self._simulation.batch.state[lane], self._goal(lane), look)

    def update(self, lane: int = 0) -> None:
        """Bring the viewer up to date where the mode is "human"; it opens on first use."""
        if self.mode != "human":
            return
        mujoco = load_mujoco()
        model = self._simulation.model
        if self._data is None:
            self._data = mujoco.MjData(model)
        self._simulation.batch.get_data(lane, self._data)
        mujoco.mj_forward(model, self._data)
        if self._viewer is None:
            self._viewer = self._open()
        with self._viewer.lock():
            self._viewer.user_scn.ngeom = 0
            for marker in self._goal(lane):
                add_marker(self._viewer.user_scn, marker)
        self._viewer.sync()

    def _open(self) -> Any:
        if headless():
            raise OperationError(
                "there is no display to open a window on; render_mode='rgb_array' draws without one"
            )
        import mujoco.viewer

        before = set(threading.enumerate())
        viewer = mujoco.viewer.launch_passive(self._simulation.model, self._data)
        self._threads = [thread for thread in threading.enumerate() if thread not in before]
        if self._camera is not None:
            viewer.cam.type, viewer.cam.fixedcamid = int(mujoco.mjtCamera.mjCAMERA_FIXED), self._camera
        return viewer

    def _goal(self, lane: int) -> list[Marker]:
        task = self._simulation.task
        return task.markers(self._simulation.goal(lane)) if isinstance(task, GoalTask) else []

    def close(self) -> None:
        """Free the renderer and close the window."""
        self._renderer.close()
        if self._viewer is not None:
            self._viewer.close()
            for thread in self._threads:  # they draw until they end, and a program may end right after this
                thread.join(_FAREWELL)
        self._viewer, self._threads = None, []
