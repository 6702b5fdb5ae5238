"""What a lane observes: numbers, pictures, or both, and the goals of a goal task beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError

from .rendering import Renderer
from .task import GoalTask, Task
from .visual_randomizer import Look

Observation = Any  # an array (n, ...), or a dict of such arrays
Goals = tuple[np.ndarray, np.ndarray]  # achieved and desired, (n, G) float32


class ObservationBuilder:
    """The senses of a task's body.

    By default a lane observes numbers (D,). With `pixels` = (H, W) it observes a picture (H, W, 3) instead,
    without goal markers; with `proprioception` as well both, as "observation" and "pixels". A goal task's
    goals stand beside that, as "achieved_goal" and "desired_goal".
    """

    def __init__(
        self, task: Task, model: Any, pixels: Sequence[int] | None, proprioception: bool, camera: str | None
    ) -> None:
        if proprioception and pixels is None:
            raise UsageError("proprioception=True says what is observed beside pixels; give pixels=(H, W)")
        self.bound = task.robot.observation_limit  # (D,)
        self._low = self._high = np.empty(
            (0, len(self.bound))
        )  # (n, D) the bound of every number of every lane
        self._goal_bound = task.goal_limit if isinstance(task, GoalTask) else None
        self._eye = None if pixels is None else Renderer(model, camera, pixels, soft=False)
        self._proprioception = proprioception
        self.backend = None if self._eye is None else self._eye.open()  # who draws what is observed

    def space(self) -> spaces.Space:
        """Of one lane."""
        numbers = box(self.bound)
        pictures = None if self._eye is None else spaces.Box(0, 255, (*self._eye.size, 3), np.uint8)
        goals = None if self._goal_bound is None else (box(self._goal_bound), box(self._goal_bound))
        space = self._compose(numbers, pictures, goals)
        return spaces.Dict(space) if isinstance(space, dict) else space

    def held(self, numbers: np.ndarray) -> np.ndarray:
        """(n, D) float32: numbers (n, D) as a body gives them, held within their bound."""
        if self._high.shape != numbers.shape:  # three arrays alike: numpy goes through them in one line
            self._high = np.empty_like(numbers)
            self._high[:] = self.bound
            self._low = -self._high
        return within(numbers, self._low, self._high)

    def observe(
        self, numbers: np.ndarray, rows: Iterable[np.ndarray], looks: Iterable[Look], goals: Goals | None
    ) -> Observation:
        """What is observed: numbers (n, D) as `held`, pictures of physics rows in looks, goals."""
        pictures = None if self._eye is None else self._eye.frames(rows, looks)
        return self._compose(numbers, pictures, goals)

    def _compose(self, numbers: Any, pictures: Any, goals: tuple[Any, Any] | None) -> Any:
        both = {"observation": numbers, "pixels": pictures}
        alone = numbers if pictures is None else pictures
        if goals is None:
            return both if self._proprioception else alone
        told = {"achieved_goal": goals[0], "desired_goal": goals[1]}
        return told | (both if self._proprioception else {"observation": alone})

    def close(self) -> None:
        """Free the renderer; it opens again when it is needed."""
        if self._eye is not None:
            self._eye.close()


def within(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Values (n, D) held in [low, high] as float32.

    NaN stays NaN: broken physics has been put back before, so it is a fault of the body, which nobody should hide.
    """
    held = np.maximum(values, low)
    return np.minimum(held, high, out=held).astype(np.float32, "C")


def box(bound: np.ndarray) -> spaces.Box:
    """All within [-bound, bound]."""
    bound = bound.astype(np.float32)
    return spaces.Box(-bound, bound, dtype=np.float32)
