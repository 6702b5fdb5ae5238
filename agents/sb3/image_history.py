"""The images of the previous time step of each sub-environment, from which an encoder computes motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Images = dict[str, np.ndarray]  # (n, H, W, C) uint8 by path of the observation


class ImageHistory:
    """Images of the current and the previous time step of n sub-environments; without images it has no effect.

    Attributes:
        previous: The images one step before the last `step`; of a new episode those of its first observation.
    """

    def __init__(self) -> None:
        """Create an empty history: the next step begins episodes everywhere."""
        self.previous: Images = {}
        self._current: Images = {}

    def step(self, images: Images, begins: np.ndarray | None = None) -> Images:
        """Add the images of the next time step, and return those before it.

        Args:
            images: Images (n, H, W, C) by path; copied.
            begins: (n,) bool, sub-environments in which these are the first of an episode; None: no further ones.
        """
        before = self._current
        if any(before[path].shape != values.shape for path, values in images.items() if path in before):
            before = {}  # another number of sub-environments
        self._current = {path: np.array(values) for path, values in images.items()}
        self.previous = dict(self._current)
        for path, values in before.items():
            if begins is None or not begins.any():
                self.previous[path] = values
            elif not begins.all():
                self.previous[path] = np.where(begins[:, None, None, None], self._current[path], values)
        return self.previous

    def replace(self, images: Images, mask: np.ndarray) -> None:
        """Begin episodes in the sub-environments of `mask` (n,) bool, whose current images were of the last ones."""
        for path, values in images.items():
            self._current[path] = np.array(values)
            self.previous[path] = np.where(
                mask[:, None, None, None], self._current[path], self.previous[path]
            )

    def clear(self) -> None:
        """Begin episodes everywhere with the next step."""
        self.previous, self._current = {}, {}

    def get_checkpoint(self) -> dict[str, Any]:
        """Return copies of the images of both time steps."""
        return {
            name: {path: values.copy() for path, values in images.items()}
            for name, images in (("previous", self.previous), ("current", self._current))
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self.previous, self._current = (
            {path: np.array(values) for path, values in tree[name].items()}
            for name in ("previous", "current")
        )
