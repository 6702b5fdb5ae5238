"""Episodes of a stream: their lanes and rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Episode(NamedTuple):
    """Rows [start, stop) of a lane; the last one has the final observation and no action.

    Example:
        episode = stream.episodes()[0]
        rows = stream.read(episode.lane, episode.start, episode.stop, ["reward"])
    """

    lane: int
    start: int
    stop: int
    ordinal: int  # number of the episode in the stream, see `Splits`
    ended: bool = True  # False while the episode continues


class EpisodeTable:
    """Growing table of episodes."""

    def __init__(self) -> None:
        """Create an empty table."""
        self._table = np.zeros((16, 3), np.int64)  # lane, first row, ordinal; grows
        self._count = 0

    def add(self, lane: np.ndarray, start: np.ndarray, ordinal: np.ndarray) -> None:
        """Add episodes (k,) that begin at rows `start` of `lane`."""
        stop = self._count + len(lane)
        if stop > len(self._table):
            larger = np.zeros((max(stop, 2 * len(self._table)), 3), np.int64)
            larger[: self._count] = self._table[: self._count]
            self._table = larger
        self._table[self._count : stop] = np.stack([lane, start, ordinal], axis=1)
        self._count = stop

    def spans(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return lane, start, stop and ordinal, (E,) each, sorted by lane and start.

        Args:
            lengths: (L,) number of rows of each lane.
        """
        table = self._table[: self._count]
        lane, start, ordinal = table[np.lexsort((table[:, 1], table[:, 0]))].T
        stop = lengths[lane]
        followed = np.flatnonzero(lane[1:] == lane[:-1])  # another episode follows in the same lane
        stop[followed] = start[followed + 1]
        return lane, start, stop, ordinal
