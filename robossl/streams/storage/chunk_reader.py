"""Chunk reader: memory-mapped chunk files, addressed by lane and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robossl.streams.schema import Schema
from robossl.streams.storage.chunk_file import Chunk
from robossl.streams.storage.memory_map import map_fields


class ChunkReader:
    """Chunk files in order. Row numbers count the existing rows; lost rows leave no hole."""

    def __init__(self, folder: Path, schema: Schema, lanes: int) -> None:
        """Create a reader without chunks."""
        self._folder, self._schema = folder, schema
        self.chunks: list[Chunk] = []
        self._first = np.zeros((16, lanes), np.int64)  # [c, lane] first row of chunk c; grows
        self._maps: dict[int, dict[str, np.ndarray]] = {}  # chunks stay mapped after the first read

    @property
    def rows(self) -> np.ndarray:
        """Return the number of committed rows of each lane, (L,)."""
        return self._first[len(self.chunks)]

    def add(self, chunk: Chunk, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Append a chunk that is already on disk; `arrays` of a tail, whose file may be replaced at any time."""
        count = len(self.chunks)
        if count + 2 > len(self._first):
            self._first = np.concatenate([self._first, np.zeros_like(self._first)])
        self._first[count + 1] = self._first[count] + chunk.rows
        self.chunks.append(chunk)
        if arrays is not None:
            self._maps[count] = arrays

    def fingerprint(self) -> tuple[int, ...]:
        """Return values that identify the newest chunk file among files of the same name."""
        if not self.chunks:
            return ()
        try:
            status = (self._folder / self.chunks[-1].file_name).stat()
        except FileNotFoundError:
            return (-1,)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Return the memory-mapped arrays of the chunk at `index`."""
        if index not in self._maps:
            chunk = self.chunks[index]
            path = self._folder / chunk.file_name
            self._maps[index] = map_fields(path, self._schema.fields, int(chunk.rows.sum()))
        return self._maps[index]

    def lane_starts(self, index: int) -> np.ndarray:
        """Return the first row of each lane in the chunk at `index`, (L,)."""
        return self._first[index]

    def locate(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the chunk index (n,) of each row; the number of chunks for uncommitted rows."""
        low = np.zeros(len(lane), np.int64)
        high = np.full(len(lane), len(self.chunks) + 1)
        for _ in range(len(self.chunks).bit_length()):
            middle = (low + high) // 2
            right = self._first[middle, lane] <= position
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        return low

    def plan(self, lane: np.ndarray, position: np.ndarray) -> Plan:
        """Return how to read rows (n,), grouped by chunk; the plan can be reused for several fields."""
        chunk = self.locate(lane, position)
        order = np.argsort(chunk, kind="stable")
        edges = np.flatnonzero(np.diff(chunk[order])) + 1
        groups = []
        for selection in np.split(order, edges) if len(order) else []:
            index = int(chunk[selection[0]])
            local = position[selection] - self._first[index, lane[selection]]
            if index < len(self.chunks):
                local = local + self.chunks[index].offset[lane[selection]]
            groups.append((index, selection, local))
        return groups


Plan = list[tuple[int, np.ndarray, np.ndarray]]  # chunk index, selected rows, positions in its arrays
