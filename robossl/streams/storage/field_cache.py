"""Rows in memory: those that wait for a commit, and small fields kept at hand for sampling."""

from __future__ import annotations

import numpy as np

from robossl.streams.schema import FLAGS, Field, Schema
from robossl.streams.storage.buffer_pool import BufferPool
from robossl.streams.storage.chunk_reader import ChunkReader
from robossl.streams.storage.memory_map import will_read
from robossl.streams.storage.row_buffer import RowBuffer

_SMALL = 16384  # [bytes] rows of wider fields are never kept
_WIDE = 1024  # [bytes] rows from which on a run of rows is worth a copy of its own


class FieldCache:
    """All fields but the flags. Fields that were sampled once stay while the budget lasts."""

    def __init__(self, schema: Schema, lanes: int, budget: int, archive: ChunkReader) -> None:
        """`budget` [bytes] for the fields kept at hand; waiting rows come on top."""
        self._schema, self._budget, self._archive = schema, budget, archive
        self._waiting = RowBuffer(lanes)  # rows since the last commit
        self._kept = RowBuffer(lanes)  # all rows
        self._shelf = BufferPool()
        self._followed = 0  # chunks whose rows are in `_kept`
        for field in schema.fields:
            if field.name not in FLAGS:
                self._waiting.add(field)

    @property
    def kept(self) -> list[str]:
        """The fields kept at hand."""
        return list(self._kept.columns)

    def append(self, lane: np.ndarray, position: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Row `position` (k,) of each lane `lane` (k,)."""
        for table in (self._waiting, self._kept):
            if table.columns:
                table.reserve(int((position - table.base[lane]).max()) + 1)
                flat = table.flat(lane, position)
                for name in table.columns:
                    table.put(name, flat, values[name])

    def waiting(self, name: str, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Rows (n,) that wait for a commit."""
        table = self._kept if name in self._kept.columns else self._waiting
        return table.take(name, table.flat(lane, position))

    def follow(self) -> None:
        """The archive has grown by rows that are new here."""
        for index in range(self._followed, len(self._archive.chunks)):
            for name in self._kept.columns:
                self._keep(name, index)
        self.committed()

    def committed(self) -> None:
        """The rows that were waiting are in the archive now."""
        self._followed = len(self._archive.chunks)
        self._waiting.base = self._archive.rows.copy()
        while self._kept.columns and self._bytes() > self._budget:
            widest = max((self._schema[name] for name in self._kept.columns), key=lambda f: f.row_bytes)
            del self._kept.columns[widest.name]
            self._waiting.add(widest)

    def take(
        self, names: list[str], lane: np.ndarray, start: np.ndarray, rows: int, cut: set[str], admit: bool
    ) -> dict[str, np.ndarray]:
        """`rows` rows from `start` (B,) of `lane` (B,) on: (B, rows, *shape) by name; of `cut` a row less.

        With `admit`, small fields are kept at hand from now on.
        """
        for name in names if admit else ():
            if name not in self._kept.columns and self._fits(self._schema[name]):
                self._admit(self._schema[name])
        flat = self._kept.flat(lane, start)
        found, rest = {}, []
        for name in names:
            if name in self._kept.columns:
                found[name] = self._kept.pieces(name, flat, rows - (name in cut))
            else:
                rest.append(name)
        if rest:
            position = start[:, None] + np.arange(rows)
            found |= self._from_files(rest, np.repeat(lane, rows), position.ravel())
            for name in rest:
                whole = found[name].reshape(len(lane), rows, *self._schema[name].shape)
                found[name] = whole[:, :-1] if name in cut else whole
        return found

    def _from_files(self, names: list[str], lane: np.ndarray, position: np.ndarray) -> dict[str, np.ndarray]:
        """Rows (n,) given by lane and position: (n, *shape) by name, from the chunks or from what waits."""
        plan = self._archive.plan(lane, position)
        found = {}
        for name in names:
            field = self._schema[name]
            out = self._shelf.array((len(lane), *field.shape), np.dtype(field.dtype))
            for index, selection, local in plan:
                if index < len(self._archive.chunks):
                    _copy(self._archive.arrays(index)[name], local, out, selection)
                else:
                    out[selection] = self.waiting(name, lane[selection], position[selection])
            found[name] = out
        return found

    def _bytes(self) -> int:
        """What the kept fields hold."""
        rows = int(self._archive.rows.sum())
        return rows * sum(self._schema[name].row_bytes for name in self._kept.columns)

    def _fits(self, field: Field) -> bool:
        rows = int(self._archive.rows.sum())
        small = not field.is_image and field.row_bytes <= _SMALL
        return small and self._bytes() + rows * field.row_bytes <= self._budget

    def _admit(self, field: Field) -> None:
        """Keep a field at hand: committed rows come from the chunks, waiting ones move."""
        waiting = self._waiting.columns.pop(field.name)
        rows = self._archive.rows
        self._kept.add(field)
        self._kept.reserve(int(rows.max()) + self._waiting.capacity)
        for index in range(len(self._archive.chunks)):
            self._keep(field.name, index)
        for lane, begin in enumerate(rows):
            self._kept.columns[field.name][lane, begin : begin + waiting.shape[1]] = waiting[lane]

    def _keep(self, name: str, index: int) -> None:
        """Copy the rows of a chunk."""
        source, chunk = self._archive.arrays(index)[name], self._archive.chunks[index]
        will_read(source, 0, len(source))
        begin = self._archive.begins(index)
        self._kept.reserve(int((begin + chunk.rows).max()))
        for lane in np.flatnonzero(chunk.rows).tolist():
            target, origin, rows = begin[lane], chunk.offset[lane], chunk.rows[lane]
            self._kept.columns[name][lane, target : target + rows] = source[origin : origin + rows]


def _copy(source: np.ndarray, local: np.ndarray, out: np.ndarray, selection: np.ndarray) -> None:
    """out[selection] = source[local], both (k,); wide rows run by run, without a copy in between."""
    if source[:1].nbytes < _WIDE:
        out[selection] = source.take(local, axis=0)
        return
    edges = np.flatnonzero((np.diff(selection) != 1) | (np.diff(local) != 1)) + 1
    begins, ends = np.append(0, edges), np.append(edges, len(local))
    runs = list(zip(selection[begins].tolist(), local[begins].tolist(), (ends - begins).tolist()))
    for _, origin, rows in runs:  # all at once, so that the disk is never idle
        will_read(source, origin, origin + rows)
    for target, origin, rows in runs:
        out[target : target + rows] = source[origin : origin + rows]
