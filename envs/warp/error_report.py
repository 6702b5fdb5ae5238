"""Warnings about physics errors on a device: how many, in which sub-environment, and what to change."""

from __future__ import annotations

import logging

import numpy as np

from .warp_batch import INVALID_ACTION
from .warp_simulation import WarpSimulation

_logger = logging.getLogger(__name__)
_MAX_WARNINGS = 10  # of one env: a robot that fails in every episode must not fill the screen


class ErrorReport:
    """Reads the physics errors of a simulation and logs them.

    Args:
        simulation: The simulation.
    """

    def __init__(self, simulation: WarpSimulation) -> None:
        self._simulation = simulation
        self.total = 0  # physics errors when they were read
        self._warnings = 0

    def report(self) -> None:
        """Log a line if there are new physics errors; this waits for the device."""
        simulation = self._simulation
        total = int(simulation.error_counts.sum())
        if total == self.total:
            return
        new, self.total = total - self.total, total
        self._warnings += 1
        codes = simulation.last_error.cpu().numpy().copy()
        simulation.last_error.zero_()
        if self._warnings > _MAX_WARNINGS:
            return
        env_index = int(np.flatnonzero(codes)[0])
        suffix = "; further physics errors are not logged" if self._warnings == _MAX_WARNINGS else ""
        _logger.warning(
            "%s: physics errors in %d episodes, which are truncated (%d in all); such as sub-environment %d: %s%s",
            type(simulation.task).__name__,
            new,
            total,
            env_index,
            self._reason(int(codes[env_index])),
            suffix,
        )

    def _reason(self, code: int) -> str:
        if code < 0:
            return (
                "an action is not finite"
                if code == INVALID_ACTION
                else "a position or velocity is not finite"
            )
        capacity = self._simulation.capacity
        reasons = [text for bit, text in self._simulation.batch.overflow_reasons.items() if code & bit]
        return (
            f"{', '.join(reasons)} (max_contacts={capacity.contacts}, max_constraints={capacity.constraints}; "
            "give larger ones)"
        )
