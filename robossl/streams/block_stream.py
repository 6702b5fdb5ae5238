"""Block stream: a stream to which a recorder adds blocks of whole episodes, each of them one chunk."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robossl.streams.stream import Stream


class BlockStream(Stream):
    """A stream that keeps appended rows in memory until `commit_block`; a process that dies leaves no part of a block.

    The number of its chunks is the number of its blocks. Its writer lock is kept until `release`.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the stream in the folder `path`."""
        super().__init__(path)
        self.commit_rows = self.commit_bytes = sys.maxsize
        self.tail_interval = math.inf
        self._block: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []  # lanes (k,) and their rows

    @property
    def blocks(self) -> int:
        """Number of committed blocks."""
        return self._next

    def append(self, rows: Mapping[str, np.ndarray], lanes: np.ndarray | None = None) -> None:
        """Add one row to the block in each of `lanes` (k,); all lanes by default."""
        lane = np.arange(self.lanes) if lanes is None else np.asarray(lanes, np.int64)
        if len(lane):
            values = self.schema.check(rows, len(lane))
            self._block.append((lane.copy(), {name: np.array(value) for name, value in values.items()}))

    def discard_block(self) -> None:
        """Forget the rows since the last block."""
        self._block = []

    def commit_block(self, steps: int) -> None:
        """Commit the episodes of each lane that began before `steps` steps of the lane; forget the others."""
        self.acquire()
        lane = np.concatenate([lanes for lanes, _ in self._block])
        order = np.argsort(lane, kind="stable")  # by lane, each in the order of time
        columns = {
            name: np.concatenate([rows[name] for _, rows in self._block])[order] for name in self.schema.names
        }
        ends = np.cumsum(np.bincount(lane, minlength=self.lanes)).tolist()
        self._block = []
        for index, (begin, end) in enumerate(zip([0, *ends], ends)):
            rows = {name: values[begin:end] for name, values in columns.items()}
            before = np.cumsum(~rows["is_last"]) - ~rows["is_last"]  # (n,) steps of the lane before each row
            later = np.flatnonzero(rows["is_first"] & (before >= steps))
            stop = int(later[0]) if len(later) else end - begin
            self.extend({name: values[:stop] for name, values in rows.items()}, index)
        self.commit()

    def close(self) -> None:
        """Keep the writer lock for the next block."""

    def release(self) -> None:
        """Release the writer lock."""
        super().close()
