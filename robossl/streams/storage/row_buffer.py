"""Growing memory for rows: one buffer for each field, lane after lane."""

from __future__ import annotations

import math

import numpy as np

from robossl.streams.schema import Field


class RowBuffer:
    """Rows of some fields in memory. Row `t` of a lane lies at `buffer[lane, t - base[lane]]`."""

    def __init__(self, lanes: int) -> None:
        """An empty table for `lanes` lanes."""
        self.base = np.zeros(lanes, np.int64)  # (L,) the first row of each lane that is kept
        self.capacity = 0  # [rows] room in each lane
        self.columns: dict[str, np.ndarray] = {}  # (L, capacity, *shape)

    def add(self, field: Field) -> None:
        """Make room for one more field."""
        lanes = len(self.base)
        self.columns[field.name] = np.zeros((lanes, self.capacity, *field.shape), np.dtype(field.dtype))

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows in every lane; pages that are never written cost nothing."""
        if rows <= self.capacity:
            return
        capacity = max(rows, self.capacity * 2, 16)
        for name, column in self.columns.items():
            larger = np.zeros((column.shape[0], capacity, *column.shape[2:]), column.dtype)
            larger[:, : self.capacity] = column
            self.columns[name] = larger
            del column
        self.capacity = capacity

    def flat(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Where rows `position` (n,) of `lane` (n,) lie in the flattened buffers."""
        return lane * self.capacity + (position - self.base[lane])

    def put(self, name: str, flat: np.ndarray, values: np.ndarray) -> None:
        """Write rows `values` (n, *shape) at `flat` (n,)."""
        column = self.columns[name]
        column.reshape(-1, *column.shape[2:])[flat] = values

    def take(self, name: str, flat: np.ndarray) -> np.ndarray:
        """Copies of the rows at `flat` (...): (..., *shape)."""
        column = self.columns[name]
        return column.reshape(-1, *column.shape[2:]).take(flat, axis=0)

    def pieces(self, name: str, flat: np.ndarray, rows: int) -> np.ndarray:
        """Copies of `rows` rows from each of `flat` (B,) on: (B, rows, *shape).

        A piece is copied at once, as one element of an array of overlapping pieces.
        """
        column = self.columns[name]
        shape = (len(flat), rows, *column.shape[2:])
        size = math.prod(shape[1:]) * column.itemsize
        if size == 0 or len(flat) == 0:
            return np.empty(shape, column.dtype)
        stride = size // rows  # [bytes] of a row
        count = column.shape[0] * column.shape[1] - rows + 1
        overlapping: np.ndarray = np.ndarray((count,), np.dtype((np.void, size)), column, 0, (stride,))
        return overlapping[flat].view(column.dtype).reshape(shape)


def ragged(rows: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lane and position (n,) of `rows` (L,) rows in each lane that begin at `start` (L,), lane after lane."""
    lane = np.repeat(np.arange(len(rows)), rows)
    offset = np.cumsum(rows) - rows
    position = np.arange(int(rows.sum())) - np.repeat(offset - start, rows)
    return lane, position
