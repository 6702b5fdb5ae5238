"""Where episodes lie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Episode(NamedTuple):
    """Rows [start, stop) of a lane, the last row included; `ended` is False while it goes on."""

    lane: int
    start: int
    stop: int
    ordinal: int
    ended: bool = True


class Episodes:
    """A growing list of episodes in the order in which they became known."""

    def __init__(self) -> None:
        """No episodes."""
        self._rows = np.zeros((16, 3), np.int64)  # lane, first row, ordinal; grows
        self._count = 0

    def add(self, lane: np.ndarray, start: np.ndarray, ordinal: np.ndarray) -> None:
        """Episodes (k,) begin at rows `start` of `lane`."""
        stop = self._count + len(lane)
        if stop > len(self._rows):
            grown = np.zeros((max(stop, 2 * len(self._rows)), 3), np.int64)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : stop] = np.stack([lane, start, ordinal], axis=1)
        self._count = stop

    def spans(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lane, start, stop and ordinal (E,) of all, lane after lane, in lanes of `lengths` (L,) rows."""
        rows = self._rows[: self._count]
        lane, start, ordinal = rows[np.lexsort((rows[:, 1], rows[:, 0]))].T
        stop = lengths[lane]
        inner = np.flatnonzero(lane[1:] == lane[:-1])  # another one follows in the same lane
        stop[inner] = start[inner + 1]
        return lane, start, stop, ordinal
