"""Bodies that stand on a floor: how far their tips are above it, and which of their feet are on it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ..engine.task import Robot

_TOUCH = 2e-3  # [m] above the floor within which a foot counts as standing on it


class FloorContactRobot(Robot):
    """A body whose limbs end in tips that may meet the floor; some of them are feet."""

    feet: ClassVar[tuple[tuple[int, ...], ...]]  # the tips of each foot

    @classmethod
    @abstractmethod
    def clearance(cls, qpos: np.ndarray) -> np.ndarray:
        """(m, tips) [m] between the underside of every tip and the floor, in poses (m, nq)."""

    @classmethod
    def contacts(cls, qpos: np.ndarray) -> np.ndarray:
        """(m, feet): 1 where a foot stands on the floor, in poses (m, nq)."""
        gap = cls.clearance(qpos)
        under = [np.minimum.reduce([gap[:, tip] for tip in foot]) for foot in cls.feet]
        return (np.stack(under, axis=1) <= _TOUCH).astype(np.float64)
