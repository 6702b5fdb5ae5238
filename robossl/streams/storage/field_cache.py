"""Field cache: uncommitted rows, and small fields cached in memory for sampling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robossl.streams.schema import FLAGS, Field, Schema
from robossl.streams.storage.buffer_pool import BufferPool
from robossl.streams.storage.chunk_reader import ChunkReader
from robossl.streams.storage.memory_map import will_read
from robossl.streams.storage.row_buffer import RowBuffer

_MAX_CACHED_ROW_BYTES = 16384  # [bytes] fields with larger rows are never cached
_RUN_COPY_ROW_BYTES = 1024  # [bytes] rows of this size or more are copied run by run


class FieldCache:
    """All fields but the flags. A field that was sampled once stays cached while the memory limit allows it."""

    def __init__(self, schema: Schema, lanes: int, max_bytes: int, chunk_reader: ChunkReader) -> None:
        """Create an empty cache.

        Args:
            schema: Fields of the stream.
            lanes: Number of lanes.
            max_bytes: Limit of the cached fields; uncommitted rows are extra.
            chunk_reader: Source of the committed rows.
        """
        self._schema, self._max_bytes, self._chunk_reader = schema, max_bytes, chunk_reader
        self._uncommitted = RowBuffer(lanes)  # rows since the last commit
        self._cached = RowBuffer(lanes)  # all rows
        self._pool = BufferPool()
        self._num_loaded = 0  # chunks whose rows are in `_cached`
        for field in schema.fields:
            if field.name not in FLAGS:
                self._uncommitted.add(field)

    @property
    def cached_fields(self) -> list[str]:
        """Return the names of the cached fields."""
        return list(self._cached.columns)

    def append(self, lane: np.ndarray, position: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Append rows `position` (k,) of `lane` (k,)."""
        for buffer in (self._uncommitted, self._cached):
            if buffer.columns:
                buffer.reserve(int((position - buffer.base[lane]).max()) + 1)
                flat = buffer.flat_index(lane, position)
                for name in buffer.columns:
                    buffer.set_rows(name, flat, values[name])

    def uncommitted(self, name: str, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return rows (n,) that are not committed yet."""
        buffer = self._cached if name in self._cached.columns else self._uncommitted
        return buffer.gather(name, buffer.flat_index(lane, position))

    def load_new_chunks(self) -> None:
        """Cache the rows of chunks that another writer appended."""
        for index in range(self._num_loaded, len(self._chunk_reader.chunks)):
            for name in self._cached.columns:
                self._copy_chunk(name, index)
        self.on_commit()

    def on_commit(self) -> None:
        """Drop the uncommitted rows, which the chunk reader has now, and enforce the memory limit."""
        self._num_loaded = len(self._chunk_reader.chunks)
        self._uncommitted.base = self._chunk_reader.rows.copy()
        while self._cached.columns and self._cached_bytes() > self._max_bytes:
            widest = max((self._schema[name] for name in self._cached.columns), key=lambda f: f.row_bytes)
            del self._cached.columns[widest.name]
            self._uncommitted.add(widest)

    def read(
        self, names: list[str], lane: np.ndarray, start: np.ndarray, rows: int, shorter: set[str], cache: bool
    ) -> dict[str, np.ndarray]:
        """Return `rows` rows from `start` (B,) of `lane` (B,) on: (B, rows, *shape) by name.

        Args:
            names: Fields to read.
            lane: (B,) lanes.
            start: (B,) first rows.
            rows: Rows of each piece.
            shorter: Fields that are read without the last row of each piece.
            cache: Cache small fields from now on.
        """
        for name in names if cache else ():
            if name not in self._cached.columns and self._fits_cache(self._schema[name]):
                self._cache_field(self._schema[name])
        flat = self._cached.flat_index(lane, start)
        values_by_field, uncached = {}, []
        for name in names:
            if name in self._cached.columns:
                values_by_field[name] = self._cached.pieces(name, flat, rows - (name in shorter))
            else:
                uncached.append(name)
        if uncached:
            position = start[:, None] + np.arange(rows)
            values_by_field |= self._read_uncached(uncached, np.repeat(lane, rows), position.ravel())
            for name in uncached:
                values = values_by_field[name].reshape(len(lane), rows, *self._schema[name].shape)
                values_by_field[name] = values[:, :-1] if name in shorter else values
        return values_by_field

    def _read_uncached(
        self, names: list[str], lane: np.ndarray, position: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return rows (n, *shape) by name, from the chunks or from uncommitted rows."""
        plan = self._chunk_reader.plan(lane, position)
        values_by_field = {}
        for name in names:
            field = self._schema[name]
            out = self._pool.array((len(lane), *field.shape), np.dtype(field.dtype))
            for index, selection, local in plan:
                if index < len(self._chunk_reader.chunks):
                    _copy(self._chunk_reader.arrays(index)[name], local, out, selection)
                else:
                    out[selection] = self.uncommitted(name, lane[selection], position[selection])
            values_by_field[name] = out
        return values_by_field

    def _cached_bytes(self) -> int:
        """Return the size of the cached fields."""
        rows = int(self._chunk_reader.rows.sum())
        return rows * sum(self._schema[name].row_bytes for name in self._cached.columns)

    def _fits_cache(self, field: Field) -> bool:
        rows = int(self._chunk_reader.rows.sum())
        small = not field.is_image and field.row_bytes <= _MAX_CACHED_ROW_BYTES
        return small and self._cached_bytes() + rows * field.row_bytes <= self._max_bytes

    def _cache_field(self, field: Field) -> None:
        """Cache a field: committed rows are copied from the chunks, uncommitted ones are moved."""
        uncommitted = self._uncommitted.columns.pop(field.name)
        rows = self._chunk_reader.rows
        self._cached.add(field)
        self._cached.reserve(int(rows.max()) + self._uncommitted.capacity)
        for index in range(len(self._chunk_reader.chunks)):
            self._copy_chunk(field.name, index)
        for lane, begin in enumerate(rows):
            self._cached.columns[field.name][lane, begin : begin + uncommitted.shape[1]] = uncommitted[lane]

    def _copy_chunk(self, name: str, index: int) -> None:
        """Copy the rows of a chunk into the cache."""
        source, chunk = self._chunk_reader.arrays(index)[name], self._chunk_reader.chunks[index]
        will_read(source, 0, len(source))
        begin = self._chunk_reader.lane_starts(index)
        self._cached.reserve(int((begin + chunk.rows).max()))
        for lane in np.flatnonzero(chunk.rows).tolist():
            target, origin, rows = begin[lane], chunk.offset[lane], chunk.rows[lane]
            self._cached.columns[name][lane, target : target + rows] = source[origin : origin + rows]


def _copy(source: np.ndarray, local: np.ndarray, out: np.ndarray, selection: np.ndarray) -> None:
    """Set out[selection] = source[local], both (k,); large rows are copied run by run without an intermediate copy."""
    if source[:1].nbytes < _RUN_COPY_ROW_BYTES:
        out[selection] = source.take(local, axis=0)
        return
    edges = np.flatnonzero((np.diff(selection) != 1) | (np.diff(local) != 1)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(local))  # of the runs
    runs = list(zip(selection[starts].tolist(), local[starts].tolist(), (ends - starts).tolist()))
    for _, origin, rows in runs:  # request all runs at once to keep the disk busy
        will_read(source, origin, origin + rows)
    for target, origin, rows in runs:
        out[target : target + rows] = source[origin : origin + rows]
