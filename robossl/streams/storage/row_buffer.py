"""Row buffer: growing memory with one array for each field."""

from __future__ import annotations

import math

import numpy as np

from robossl.streams.schema import Field


class RowBuffer:
    """Rows of some fields in memory. Row `t` of a lane is at `buffer[lane, t - base[lane]]`."""

    def __init__(self, lanes: int) -> None:
        """Create an empty buffer for `lanes` lanes."""
        self.base = np.zeros(lanes, np.int64)  # (L,) first row of each lane in the buffer
        self.capacity = 0  # [rows] of each lane
        self.columns: dict[str, np.ndarray] = {}  # (L, capacity, *shape)

    def add(self, field: Field) -> None:
        """Add an array for one more field."""
        lanes = len(self.base)
        self.columns[field.name] = np.zeros((lanes, self.capacity, *field.shape), np.dtype(field.dtype))

    def reserve(self, rows: int) -> None:
        """Grow the buffers to `rows` rows in every lane; pages that are never written use no memory."""
        if rows <= self.capacity:
            return
        capacity = max(rows, self.capacity * 2, 16)
        for name, column in self.columns.items():
            enlarged = np.zeros((column.shape[0], capacity, *column.shape[2:]), column.dtype)
            enlarged[:, : self.capacity] = column
            self.columns[name] = enlarged
            del column
        self.capacity = capacity

    def flat_index(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the indices of rows `position` (n,) of `lane` (n,) in the flattened arrays."""
        return lane * self.capacity + (position - self.base[lane])

    def set_rows(self, name: str, flat: np.ndarray, values: np.ndarray) -> None:
        """Write rows `values` (n, *shape) at flat indices (n,)."""
        column = self.columns[name]
        column.reshape(self._flat_shape(column))[flat] = values

    def gather(self, name: str, flat: np.ndarray) -> np.ndarray:
        """Return copies of the rows at flat indices (...): (..., *shape)."""
        column = self.columns[name]
        return column.reshape(self._flat_shape(column)).take(flat, axis=0)

    @staticmethod
    def _flat_shape(column: np.ndarray) -> tuple[int, ...]:
        """Return the shape (L * capacity, *shape); `reshape(-1)` fails where a row has no elements."""
        return (column.shape[0] * column.shape[1], *column.shape[2:])

    def pieces(self, name: str, flat: np.ndarray, rows: int) -> np.ndarray:
        """Return copies of `rows` consecutive rows from each flat index (B,) on: (B, rows, *shape).

        Each piece is copied as one element of an array of overlapping pieces.
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


def list_rows(count: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lane and position (n,) of `count` (L,) rows in each lane from `start` (L,) on, sorted by lane."""
    lane = np.repeat(np.arange(len(count)), count)
    offset = np.cumsum(count) - count
    position = np.arange(int(count.sum())) - np.repeat(offset - start, count)
    return lane, position
