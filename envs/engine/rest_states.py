"""Physics states of a robot at rest: in the pose of an observation, or at a goal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robossl.core.errors import UsageError

from .input_checks import check_finite_rows
from .mujoco_setup import load_batch
from .task import GoalTask, Task

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch


class RestStates:
    """Computes states of a task's robot at rest, on batches apart from the simulation.

    Args:
        task: The task.
        model: Its model.
        stage: MuJoCo stage of the derived fields that the robot observes; 0 for none.
    """

    def __init__(self, task: Task, model: MjModel, stage: int) -> None:
        self._task, self._model, self._stage = task, model, stage

    def from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """Return the physics states (m, P) in the poses of observed numbers (m, D), or None if these fix no pose."""
        robot = self._task.robot
        numbers = check_finite_rows(
            "observations", observation, ("m", len(robot.observation_limit)), np.float64
        )
        pose = robot.pose_from_observation(numbers)
        return None if pose is None else self._batch(pose).state.copy()

    def at_goal(self, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the robot observes at rest at goals (m, G): numbers (m, D) and physics states (m, P)."""
        if not isinstance(self._task, GoalTask):
            raise UsageError(f"expected a goal task, got {type(self._task).__name__}, which has no goals")
        goals = check_finite_rows("goals", goal, ("m", len(self._task.goal_limit)), np.float64)
        batch = self._batch(self._task.goal_pose(goals))
        robot = self._task.robot(batch)
        batch.forward(stage=self._stage)
        return robot.observation(), batch.state.copy()

    def _batch(self, pose: np.ndarray) -> Batch:
        """Return a batch of simulations in poses (m, nq), without controls where the task has no keyframe."""
        batch = load_batch().Batch(self._model, len(pose), 1)
        batch.reset(keyframe=self._task.keyframe, stage=0)
        batch.bind("qpos")[:], batch.bind("qvel")[:] = pose, 0.0
        return batch
