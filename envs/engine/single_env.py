"""MujocoEnv: a task on a batch of one, as a plain Gymnasium env."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from robossl.core.errors import UsageError

from .observation_builder import Observation
from .registration import resolve
from .render_manager import RenderManager
from .simulation import Simulation, checked_action
from .task import Task
from .vector_env import compute_reward


class MujocoEnv(gymnasium.Env):
    """One lane of a task. Time limits are Gymnasium's TimeLimit wrapper's business.

    `task` is a Task, a subclass of it, or "module:Name". When the physics breaks the episode is truncated and
    `info["physics_error"]` is true.
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
        randomization: Any = None,
        substeps: int | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in {"self", "__class__"}}
        self.simulation = Simulation(
            resolve(task),
            num_envs=1,
            nthread=1,
            pixels=pixels,
            proprioception=proprioception,
            camera=camera,
            randomization=randomization,
            substeps=substeps,
        )
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata,
            "render_fps": round(1 / self.simulation.control_step),
            "step_seconds": self.simulation.control_step,
            "render_backend": self.simulation.senses.backend,
        }
        self.observation_space = self.simulation.observation_space()
        self.action_space = self.simulation.action_space()
        self._show = RenderManager(self.simulation, render_mode, camera, render_size)
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new episode; `options["randomization"]` is the new rule for this and all later ones."""
        super().reset(seed=seed)
        unknown = set(options or {}) - {"randomization"}
        if unknown:
            raise UsageError(f"unknown reset options: {', '.join(sorted(unknown))}; there are: randomization")
        if "randomization" in (options or {}):
            self.simulation.randomization.ask((options or {})["randomization"], np.ones(1, bool))
        self.simulation.generators[0] = self.np_random
        self.simulation.reset(np.zeros(1, np.int64))
        self._begun = True
        self._show.update()
        return self.observation(), _info(self.simulation.success(), False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step; `action` is (A,) within [-1, 1]."""
        if not self._begun:
            raise UsageError("step() was called before reset()")
        outcome = self.simulation.step(checked_action(action, self.action_space.shape)[None])
        physics_error = bool(outcome.physics_error[0])
        self._show.update()
        terminated = bool(outcome.terminated[0])
        info = _info(outcome.success, physics_error)
        return self.observation(), float(outcome.reward[0]), terminated, physics_error, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A frame (H, W, 3) uint8; None unless render_mode is "rgb_array"."""
        return self._show.frame(0)

    def close(self) -> None:
        """Free the renderers."""
        self._show.close()
        self.simulation.senses.close()

    def observation(self) -> Observation:
        """What the robot observes now, as reset and step return it."""
        batch = self.simulation.observation()
        return {k: v[0] for k, v in batch.items()} if isinstance(batch, dict) else batch[0]

    def __getstate__(self) -> dict[str, Any]:
        self.simulation.generators[0] = self.np_random
        checkpoint = self.simulation.get_checkpoint()
        return {
            "arguments": self._arguments,
            "checkpoint": checkpoint,
            "begun": self._begun,
            "spec": self.spec,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.simulation.set_checkpoint(state["checkpoint"])
        self.np_random = self.simulation.generator(0)
        self._begun, self.spec = state["begun"], state["spec"]


def _info(success: np.ndarray | None, physics_error: bool) -> dict[str, Any]:
    known = {} if success is None else {"is_success": bool(success[0])}
    return known | {"physics_error": physics_error}


class MujocoGoalEnv(MujocoEnv):
    """One lane of a task with goals; by its `compute_reward` others know it for a goal env."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> Any:
        """Rewards (...,) of achieved and desired goals (..., G), as hindsight replay asks for them."""
        return compute_reward(self.simulation.task, achieved, desired)
