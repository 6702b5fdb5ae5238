"""Physics stepping with detection of physics errors: a diverged sub-environment is put back and reported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from robossl.core.errors import one_line

from .mujoco_setup import QuietConsole, load_batch

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

_logger = logging.getLogger(__name__)
_MAX_WARNINGS = 10  # of one simulation: a model that diverges at every step must not fill the screen

_NOT_FINITE = "a position or velocity is not finite"
_DIVERGED = slice(3, 6)  # columns of MuJoCo's warnings of a bad qpos, qvel and qacc
_WARNINGS = (
    "MuJoCo found a position that is not finite or too large",
    "MuJoCo found a velocity that is not finite or too large",
    "MuJoCo found an acceleration that is not finite or too large",
)


class PhysicsErrorLog:
    """Logs the first physics errors of a simulation.

    Args:
        task: Name of the task, the first word of every line.
    """

    def __init__(self, task: str) -> None:
        self._task, self._count = task, 0

    def warn(self, reasons: Mapping[int, str], times: np.ndarray) -> None:
        """Log one line for each sub-environment.

        Args:
            reasons: Cause of the error by sub-environment index.
            times: Simulation time (n,) [s] of every sub-environment.
        """
        for env_index, reason in sorted(reasons.items()):
            self._count += 1
            if self._count <= _MAX_WARNINGS:
                suffix = "; further physics errors are not logged" if self._count == _MAX_WARNINGS else ""
                _logger.warning(
                    "%s, sub-environment %d, at %.3g s: %s; its episode is truncated%s",
                    self._task,
                    env_index,
                    times[env_index],
                    reason,
                    suffix,
                )


class PhysicsStepper:
    """Steps a batch and undoes the step of every sub-environment whose physics diverged.

    Args:
        batch: The batch to step.
        model: Its model.
        substeps: Physics steps per control step.
        stage: MuJoCo stage of the derived fields to compute after a step; 0 for none.
        task: Name of the task, for the log.
    """

    def __init__(self, batch: Batch, model: MjModel, substeps: int, stage: int, task: str) -> None:
        self.batch, self.substeps, self.stage = batch, substeps, stage
        self._simulation_error = load_batch().SimulationError
        self._quiet = QuietConsole()  # the log reports physics errors, without a line of MuJoCo for each
        self._state = batch.state  # (n, P) view; its first column is the time
        self._motion = self._state[:, 1 : 1 + model.nq + model.nv]  # positions and velocities
        self._before = self._state.copy()
        self._warnings = batch.warning[:, _DIVERGED, 1]  # (n, 3) view
        self._log = PhysicsErrorLog(task)

    def step(self, env_ids: np.ndarray | None) -> np.ndarray:
        """Advance sub-environments `env_ids` (None: all) by one control step.

        Returns:
            (n,) bool: the physics of the sub-environment diverged, and its state is the one before the step.
        """
        self._before[...] = self._state
        reasons: dict[int, str] = {}  # by sub-environment index
        try:
            with self._quiet:
                self.batch.step(env_ids, self.substeps, self.stage)
        except self._simulation_error as error:
            reasons = dict.fromkeys(map(int, error.ids), one_line(error))
        if np.count_nonzero(self._warnings):
            reasons |= {
                int(env_index): _WARNINGS[column] for env_index, column in np.argwhere(self._warnings)
            }
            self.batch.warning[list(reasons)] = 0
        # `_state` is contiguous, so that this is faster than for `_motion` alone
        if np.count_nonzero(np.isfinite(self._state)) < self._state.size:
            diverged = np.flatnonzero(~np.isfinite(self._motion).all(axis=1))
            reasons = dict.fromkeys(map(int, diverged), _NOT_FINITE) | reasons
        physics_error = np.zeros(len(self._state), bool)
        if reasons:
            physics_error[list(reasons)] = True
            self._undo(np.array(sorted(reasons)))
            self._log.warn(reasons, self._before[:, 0])
        return physics_error

    def _undo(self, env_ids: np.ndarray) -> None:
        self._state[env_ids] = self._before[env_ids]
        not_finite = env_ids[~np.isfinite(self._before[env_ids]).all(axis=1)]
        if not_finite.size:  # a user wrote into the state between two steps
            self.batch.reset(not_finite, stage=0)
        if self.stage:
            self.batch.forward(env_ids, self.stage)
