"""Mishaps: which lane's physics broke, when and why, said in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

_say = logging.getLogger(__name__).warning
_MOST = 10  # lines of one simulation: a model that breaks at every step should not fill the screen

NOT_FINITE = "a position or velocity is no number"
WARNINGS = (  # MuJoCo's, beginning with that of a bad qpos
    "MuJoCo found a position that is no number or too large",
    "MuJoCo found a velocity that is no number or too large",
    "MuJoCo found an acceleration that is no number or too large",
)


class PhysicsErrorLog:
    """Says the first few mishaps of a task's simulation."""

    def __init__(self, task: str) -> None:
        self._task, self._count = task, 0

    def tell(self, reasons: Mapping[int, str], times: np.ndarray) -> None:
        """`reasons` by lane; `times` (n,) [s] of the simulation."""
        for lane, reason in sorted(reasons.items()):
            self._count += 1
            if self._count <= _MOST:
                more = "; further ones are not said" if self._count == _MOST else ""
                _say(
                    "%s, lane %d, at %.3g s: %s; its episode ends%s",
                    self._task,
                    lane,
                    times[lane],
                    reason,
                    more,
                )
