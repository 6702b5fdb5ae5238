"""The keeping of a stream: rows in memory and in chunk files, one writer, nothing committed ever lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import sync_folder, write_json
from robossl.streams.schema import FLAGS, Schema
from robossl.streams.splits import Splits
from robossl.streams.storage.chunk_file import (
    Chunk,
    CorruptedStreamError,
    chunk_name,
    chunk_numbers,
    read_chunk,
    read_head,
    write_chunk,
    write_head,
)
from robossl.streams.storage.chunk_reader import ChunkReader
from robossl.streams.storage.field_cache import FieldCache
from robossl.streams.storage.lock import WriterLock
from robossl.streams.storage.row_buffer import ragged
from robossl.streams.storage.row_index import RowIndex
from robossl.streams.stream_header import HEADER, read_header

COMMIT_ROWS = 32768  # a chunk is written when so many rows wait
COMMIT_BYTES = 64 << 20  # [bytes] or so many bytes


class Store:
    """Rows of several lanes in a folder. One writer at a time, any number of readers."""

    def __init__(self, path: str | Path, memory: int) -> None:
        """Open the folder `path`; `memory` bytes at most keep small fields at hand."""
        self.path = Path(path)
        self.commit_rows, self.commit_bytes = COMMIT_ROWS, COMMIT_BYTES
        self._budget = memory
        self._lock: WriterLock | None = None
        self._load()

    def _load(self) -> None:
        """Read the header and all chunks."""
        self.header = read_header(self.path)
        self.schema = Schema.from_json(self.header)
        self.lanes: int = self.header["lanes"]
        self.id: str = self.header["id"]
        self._ledger = RowIndex(self.lanes, Splits(self.id))
        self.archive = ChunkReader(self.path, self.schema, self.lanes)
        self._memory = FieldCache(self.schema, self.lanes, self._budget, self.archive)
        self._next = 0  # the number of the next chunk
        self._load_chunks()

    def _load_chunks(self) -> None:
        """Read the chunks that are new since the last time."""
        lost = {entry["chunk"]: entry["rows"] for entry in self.header["lost"]}
        committed, _ = read_head(self.path, self.lanes)
        last = max([committed - 1, *chunk_numbers(self.path), *lost], default=-1)
        for number in range(self._next, last + 1):
            if number in lost:
                self._ledger.lose(None if lost[number] is None else np.array(lost[number], np.int64))
            else:
                self._load_chunk(number)
            self._next = number + 1
        self._memory.follow()
        self._settle()

    def _load_chunk(self, number: int) -> None:
        try:
            chunk, arrays = read_chunk(self.path, self.id, self.schema, self.lanes, number)
            if not self._ledger.follows(chunk):
                raise CorruptedFileError(f"{chunk_name(number)} does not begin where the rows before it end")
        except CorruptedFileError as error:
            raise CorruptedStreamError(
                f"{self.path} is damaged: {error}; to set the chunk aside and keep the rest: "
                f"robossl stream validate --repair {self.path}"
            ) from error
        self._ledger.load(chunk, arrays)
        self.archive.add(chunk)

    def _settle(self) -> None:
        """Remember what is committed."""
        self._begun = self._ledger.begun.copy()  # (L,) episodes begun before the next chunk
        self._newest = self._fingerprint()

    def _fingerprint(self) -> tuple[int, ...]:
        """What tells the newest chunk file from another of the same name."""
        if not self.archive.chunks:
            return ()
        try:
            status = (self.path / chunk_name(self.archive.chunks[-1].number)).stat()
        except FileNotFoundError:
            return (-1,)
        return status.st_ino, status.st_size, status.st_mtime_ns

    # --- writing

    def acquire(self) -> None:
        """Become the writer; `RequestError` while there is another one."""
        if self._lock is None:
            self._lock = WriterLock(self.path)
            for leftover in self.path.glob(".chunk-*.tmp"):  # of a writer that died
                leftover.unlink()
            self.refresh()

    def append(self, rows: Mapping[str, np.ndarray], lanes: np.ndarray | None = None) -> None:
        """One row (k, *shape) of every field for each of `lanes` (k,), all different; without them, for all.

        `RequestError` where a field is missing, unknown or of another kind; then nothing is appended.
        """
        self.acquire()
        lane = np.arange(self.lanes) if lanes is None else np.asarray(lanes, np.int64)
        if len(lane) == 0:
            return
        values = self.schema.check(rows, len(lane))
        self._ledger.check(lane, values)
        self._memory.append(lane, self._ledger.lengths[lane], values)
        self._ledger.append(lane, values)
        self._commit_when_due()

    def extend(self, rows: Mapping[str, np.ndarray], lane: int) -> None:
        """Rows (n, *shape) of every field, one after another in one lane: whole episodes, or pieces of one."""
        self.acquire()
        if not 0 <= lane < self.lanes:
            raise UsageError(f"no lane {lane}; there are lanes 0 to {self.lanes - 1}")
        count = len(rows["is_first"]) if "is_first" in rows else 0
        values = self.schema.check(rows, count)
        if count == 0:
            return
        self._ledger.check_run(lane, values)
        position = self._ledger.lengths[lane] + np.arange(count)
        self._memory.append(np.full(count, lane), position, values)
        self._ledger.extend(lane, values)
        self._commit_when_due()

    def _commit_when_due(self) -> None:
        waiting = int(self._ledger.lengths.sum()) - int(self.archive.rows.sum())
        if waiting >= self.commit_rows or waiting * self.schema.row_bytes >= self.commit_bytes:
            self.commit()

    def commit(self) -> None:
        """Write the waiting rows as one chunk. After this they survive anything but the disk."""
        start = self.archive.rows
        count = self._ledger.lengths - start
        if not count.any():
            return
        lane, position = ragged(count, start)
        arrays = {n: self._memory.waiting(n, lane, position) for n in self.schema.names if n not in FLAGS}
        rows = self._ledger.bytes(lane, position)
        arrays |= {name: self._ledger.flag(name, rows) for name in FLAGS}
        chunk = Chunk(self._next, self._ledger.written - count, count, self._begun)
        write_chunk(self.path, self.id, chunk, arrays)
        self.archive.add(chunk)
        self._next += 1
        self._memory.committed()
        self._settle()

    def close(self) -> None:
        """Commit and let another writer in. The stream can still be read, and appended to again."""
        if self._lock is not None:
            self.commit()
            self._lock.release()
            self._lock = None

    def mark(self) -> dict[str, Any]:
        """Commit, and name the place: `truncate` comes back to it, in this process or a later one."""
        self.commit()
        return {"stream": self.id, "chunks": self._next, "rows": self._ledger.written.tolist()}

    def truncate(self, mark: Mapping[str, Any]) -> None:
        """Drop everything after `mark`, waiting rows included."""
        self.acquire()
        chunks, rows = self._place(mark)
        write_head(self.path, chunks, rows)
        lost = [entry for entry in self.header["lost"] if entry["chunk"] < chunks]
        if lost != self.header["lost"]:
            write_json(self.path / HEADER, {**self.header, "lost": lost})
        for number in reversed([n for n in chunk_numbers(self.path) if n >= chunks]):
            (self.path / chunk_name(number)).unlink()
        sync_folder(self.path)
        self._load()

    def _place(self, mark: Mapping[str, Any]) -> tuple[int, np.ndarray]:
        """How many chunks and rows (L,) a mark stands for; `RequestError` where it is not of this stream."""
        if mark.get("stream") != self.id:
            raise UsageError(f"the mark belongs to stream {mark.get('stream')}; {self.path} is {self.id}")
        chunks, rows = int(mark["chunks"]), np.array(mark["rows"], np.int64)
        if chunks > self._next or rows.shape != (self.lanes,):
            raise UsageError(f"the mark comes after {chunks} chunks; {self.path} has {self._next}")
        there = np.zeros(self.lanes, np.int64)
        for chunk in self.archive.chunks:
            if chunk.number < chunks:
                there = np.where(chunk.rows > 0, chunk.start + chunk.rows, there)
        for entry in self.header["lost"]:
            if entry["chunk"] < chunks:
                there = np.maximum(
                    there, rows if entry["rows"] is None else np.array(entry["rows"], np.int64)
                )
        if not np.array_equal(rows, there):
            raise UsageError(f"the mark is not a place in {self.path}: other rows lie before it")
        return chunks, rows

    # --- reading

    def refresh(self) -> None:
        """See what another process has committed since."""
        if self._fingerprint() != self._newest or read_header(self.path) != self.header:
            self._load()  # truncated or repaired meanwhile
        else:
            self._load_chunks()

    def _fetch(
        self,
        lane: np.ndarray,
        start: np.ndarray,
        rows: int,
        names: Iterable[str],
        cut: Iterable[str] = (),
        admit: bool = False,
    ) -> dict[str, np.ndarray]:
        """`rows` rows from `start` (B,) of `lane` (B,) on: (B, rows, *shape) by name; of `cut` a row less."""
        wanted = [*names, *cut]
        found = self._memory.take([n for n in wanted if n not in FLAGS], lane, start, rows, set(cut), admit)
        if len(found) < len(wanted):
            known = self._ledger.pieces(lane, start, rows)
            short = known[:, :-1]
            for name in (n for n in wanted if n in FLAGS):
                found[name] = self._ledger.flag(name, short if name in cut else known)
        return found
