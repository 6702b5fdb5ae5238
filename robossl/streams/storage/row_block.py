"""Row block: rows that were appended one by one, until they are added to the row index and the cache together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robossl.streams.schema import Schema

_STEPS = 64  # rows of each lane in a full block
_MAX_BYTES = 1 << 20  # [bytes] of a block; larger rows gain nothing


class RowBlock:
    """Memory for rows in the order in which they were appended. Only rows that continue their episodes are taken."""

    def __init__(self, schema: Schema, lanes: int) -> None:
        """Create an empty block for rows of `lanes` lanes."""
        self.count = 0  # rows in the block
        self.uncommitted = 0  # rows of the stream before the block that are not committed yet
        self._lanes = lanes
        self._capacity = min(_STEPS * lanes, _MAX_BYTES // schema.row_bytes)
        self._num_fields = len(schema.fields)
        self._schema = schema
        self._columns: list[tuple[str, np.ndarray, tuple[int, ...]]] = []  # name, (capacity, *shape), shape
        self._lane = np.zeros(self._capacity, np.int64)
        self._episode_open = np.zeros(lanes, bool)  # (L,) an episode is running after the rows of the block

    @property
    def is_full(self) -> bool:
        """Return whether one more row for each lane may not fit."""
        return self.count + self._lanes > self._capacity

    def begin(self, episode_open: np.ndarray, uncommitted: int) -> None:
        """Begin an empty block after rows of which `uncommitted` are not committed, with `episode_open` (L,)."""
        self._episode_open = episode_open.copy()
        self.uncommitted = uncommitted
        if not self._columns:
            self._columns = [
                (f.name, np.zeros((self._capacity, *f.shape), np.dtype(f.dtype)), f.shape)
                for f in self._schema.fields
            ]

    def add(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> bool:
        """Add one row (k,) of every field to each of the lanes `lane` (k,).

        Returns:
            False if nothing was added: the block is full, a lane does not exist, a field does not fit as it is, or a
            row does not continue the episode of its lane.
        """
        stop = self.count + len(lane)
        if stop > self._capacity or len(rows) != self._num_fields:
            return False
        if np.count_nonzero(lane.view(np.uint64) >= self._lanes):  # as unsigned, negative ones are large
            return False
        for name, column, shape in self._columns:
            value = rows.get(name)
            if (
                type(value) is not np.ndarray
                or value.dtype != column.dtype
                or value.shape != (len(lane), *shape)
            ):
                return False
        is_last = rows["is_last"]
        # an episode begins exactly where none is running, and a last row has no action
        if np.count_nonzero((rows["is_first"] == self._episode_open[lane]) | (rows["valid"] & is_last)):
            return False
        for name, column, _ in self._columns:
            column[self.count : stop] = rows[name]
        self._lane[self.count : stop] = lane
        self._episode_open[lane] = ~is_last
        self.count = stop
        return True

    def sorted_rows(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the number of rows of each lane (L,), and all fields (n, *shape) sorted by lane, then by time."""
        lane = self._lane[: self.count]
        order = np.argsort(lane, kind="stable")
        counts = np.bincount(lane, minlength=self._lanes)
        return counts, {name: column[: self.count][order] for name, column, _ in self._columns}
