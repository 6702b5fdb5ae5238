"""Observations of a task: numbers, images or both, with the achieved and desired goal of a goal task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError

from .rendering import Renderer
from .task import GoalTask, Task
from .visual_randomizer import VisualParameters

if TYPE_CHECKING:
    from mujoco import MjModel

Observation = Any  # an array (n, ...), or a dict of such arrays
Goals = tuple[np.ndarray, np.ndarray]  # achieved and desired, (n, G) float32


class ObservationBuilder:
    """Builds the observation space and the observations of a task.

    The observation is an array of numbers (D,) by default, and an image (H, W, 3) uint8 without goal markers with
    `pixels`. It is a dict with "observation" and "pixels" with `proprioception`. A goal task adds "achieved_goal" and
    "desired_goal".

    Args:
        task: The task.
        model: Its model.
        pixels: Image size (height, width), or None.
        proprioception: Observe the numbers beside the image.
        camera: Name of the camera; None takes the model's first.
    """

    def __init__(
        self,
        task: Task,
        model: MjModel,
        pixels: Sequence[int] | None,
        proprioception: bool,
        camera: str | None,
    ) -> None:
        if proprioception and pixels is None:
            raise UsageError(
                "expected pixels=(height, width) with proprioception=True, got none; give pixels"
            )
        self.limit = task.robot.observation_limit  # (D,)
        self._low = self._high = np.empty((0, len(self.limit)))  # (n, D)
        self._goal_limit = task.goal_limit if isinstance(task, GoalTask) else None
        self._renderer = None if pixels is None else Renderer(model, camera, pixels, high_quality=False)
        self._proprioception = proprioception
        # rendering backend of image observations
        self.backend = None if self._renderer is None else self._renderer.open()

    def space(self) -> spaces.Space:
        """Return the observation space of one sub-environment."""
        numbers = box(self.limit)
        image = None if self._renderer is None else spaces.Box(0, 255, (*self._renderer.size, 3), np.uint8)
        goals = None if self._goal_limit is None else (box(self._goal_limit), box(self._goal_limit))
        space = compose_observation(numbers, image, goals, self._proprioception)
        return spaces.Dict(space) if isinstance(space, dict) else space

    def clip(self, numbers: np.ndarray) -> np.ndarray:
        """Return a robot's numbers (n, D) clipped to their limit, as float32."""
        if self._high.shape != numbers.shape:  # limits of the same shape: numpy clips without broadcasting
            self._high = np.empty_like(numbers)
            self._high[:] = self.limit
            self._low = -self._high
        return clip_to_float32(numbers, self._low, self._high)

    def observe(
        self,
        numbers: np.ndarray,
        physics: Iterable[np.ndarray],
        visuals: Iterable[VisualParameters],
        goals: Goals | None,
    ) -> Observation:
        """Return the observation.

        Args:
            numbers: Clipped numbers (n, D).
            physics: Physics states, n of (P,), to render.
            visuals: Visual parameters, n.
            goals: Achieved and desired goals, or None.
        """
        images = None if self._renderer is None else self._renderer.frames(physics, visuals)
        return compose_observation(numbers, images, goals, self._proprioception)

    def close(self) -> None:
        """Free the renderer; it opens again on the next observation."""
        if self._renderer is not None:
            self._renderer.close()


def compose_observation(
    numbers: Any, images: Any, goals: tuple[Any, Any] | None, proprioception: bool
) -> Any:
    """Return numbers, images or both, with the goals of a goal task; for spaces and for batches of values."""
    numbers_and_images = {"observation": numbers, "pixels": images}
    observation = numbers if images is None else images
    if goals is None:
        return numbers_and_images if proprioception else observation
    goal_entries = {"achieved_goal": goals[0], "desired_goal": goals[1]}
    return goal_entries | (numbers_and_images if proprioception else {"observation": observation})


def separate(batch: Any, env_ids: np.ndarray, num_envs: int) -> np.ndarray:
    """Return (n,) objects: the observation of each of `env_ids` (m,), None elsewhere.

    Args:
        batch: Their observations (m, ...).
        env_ids: Sub-environments.
        num_envs: Number of sub-environments n.
    """
    single = np.full(num_envs, None, object)
    for i, env_index in enumerate(env_ids):
        single[env_index] = {k: v[i] for k, v in batch.items()} if isinstance(batch, dict) else batch[i]
    return single


def clip_to_float32(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return values (n, D) clipped to [low, high], as float32.

    NaN stays NaN. Physics errors have been undone before, so NaN is an error of the robot's code and must stay visible.
    """
    clipped = np.maximum(values, low)
    return np.minimum(clipped, high, out=clipped).astype(np.float32, "C")


def box(limit: np.ndarray) -> spaces.Box:
    """Return the float32 space [-limit, limit]."""
    limit = limit.astype(np.float32)
    return spaces.Box(-limit, limit, dtype=np.float32)
