"""MujocoEnv and MujocoGoalEnv: a task in one sub-environment as a plain Gymnasium env."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import Finding

from .input_checks import check_action, check_reset_options
from .observation_builder import Observation
from .randomization_spec import RandomizationArgument
from .registration import resolve_task
from .render_manager import RenderManager
from .robot_examination import examine
from .simulation import Simulation
from .task import Task, compute_goal_reward


class MujocoEnv(gymnasium.Env):
    """Gymnasium env of one task; Gymnasium's TimeLimit wrapper adds the time limit.

    When the physics diverges the episode is truncated and `info["physics_error"]` is true.

    Example:
        env = gymnasium.make("robossl/CheetahRun-v0", render_mode="rgb_array")

    Args:
        task: A Task, a subclass of it, or "module:Name".
        render_mode: "human", "rgb_array" or None.
        camera: Name of the camera of frames and image observations; None takes the first.
        render_size: Size (height, width) of rendered frames [pixels].
        pixels: Size (height, width) of image observations [pixels]; None observes numbers.
        proprioception: Observe the numbers beside the image.
        randomization: Domain randomization; see `MujocoVectorEnv`.
        substeps: Physics steps per control step; None takes the robot's.
    """

    metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        task: Task | type[Task] | str,
        render_mode: str | None = None,
        camera: str | None = None,
        render_size: tuple[int, int] = (480, 480),
        pixels: tuple[int, int] | None = None,
        proprioception: bool = False,
        randomization: RandomizationArgument = None,
        substeps: int | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in {"self", "__class__"}}
        self.simulation = Simulation(
            resolve_task(task),
            num_envs=1,
            nthread=1,
            pixels=pixels,
            proprioception=proprioception,
            camera=camera,
            randomization=randomization,
            substeps=substeps,
        )
        self.render_mode = render_mode
        self.metadata = {**self.metadata, **self.simulation.metadata()}
        self.observation_space = self.simulation.observation_space()
        self.action_space = self.simulation.action_space()
        self._render_manager = RenderManager(self.simulation, render_mode, camera, render_size)
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a new episode; `options["randomization"]` replaces the randomization from this episode on."""
        super().reset(seed=seed)
        options = dict(check_reset_options(options, ("randomization",)))
        if "randomization" in options:
            self.simulation.randomization.set_spec(options["randomization"], np.ones(1, bool))
        self.simulation.generators[0] = self.np_random
        self.simulation.reset(np.zeros(1, np.int64))
        self._started = True
        self._render_manager.update()
        return self.observation(), _info(self.simulation.success(), False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; `action` is (A,), clipped to [-1, 1]."""
        if not self._started:
            raise UsageError("step() was called before reset(); call reset() first")
        result = self.simulation.step(check_action(action, self.action_space.shape)[None])
        physics_error = bool(result.physics_error[0])
        self._render_manager.update()
        terminated = bool(result.terminated[0])
        info = _info(result.success, physics_error)
        return self.observation(), float(result.reward[0]), terminated, physics_error, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return a frame (H, W, 3) uint8; None unless render_mode is "rgb_array"."""
        return self._render_manager.frame(0)

    def close(self) -> None:
        """Free the renderers."""
        self._render_manager.close()
        self.simulation.observation_builder.close()

    def observation(self) -> Observation:
        """Return the current observation, as reset and step return it."""
        batch = self.simulation.observation()
        return {k: v[0] for k, v in batch.items()} if isinstance(batch, dict) else batch[0]

    def examine(self, seconds: float) -> list[Finding]:
        """Return what is wrong or remarkable with the robot, beyond the API; see `robot_examination`."""
        return examine(self.simulation, self._arguments["camera"], seconds)

    def __getstate__(self) -> dict[str, Any]:
        self.simulation.generators[0] = self.np_random
        checkpoint = self.simulation.get_checkpoint()
        return {
            "arguments": self._arguments,
            "checkpoint": checkpoint,
            "started": self._started,
            "spec": self.spec,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.simulation.set_checkpoint(state["checkpoint"])
        self.np_random = self.simulation.generator(0)
        self._started, self.spec = state["started"], state["spec"]


def _info(success: np.ndarray | None, physics_error: bool) -> dict[str, Any]:
    info = {} if success is None else {"is_success": bool(success[0])}
    return info | {"physics_error": physics_error}


class MujocoGoalEnv(MujocoEnv):
    """Gymnasium env of one goal task; libraries recognize a goal env by its `compute_reward`.

    Example:
        env = gymnasium.make("robossl/Reacher-v0")
        env.unwrapped.compute_reward(achieved_goal, desired_goal, {})
    """

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> Any:
        """Return the rewards (...,) of goals (..., G), for hindsight relabeling; `info` is not used."""
        return compute_goal_reward(self.simulation.task, achieved, desired)
