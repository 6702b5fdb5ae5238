"""Store: rows of a stream in memory and in chunk files, with one writer and durable commits."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, OperationError, UsageError, shell_path
from robossl.core.io import sync_folder
from robossl.streams.schema import FLAGS, Schema
from robossl.streams.splits import Splits
from robossl.streams.storage.chunk_file import (
    TAIL_FILE,
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
from robossl.streams.storage.offset import check_offset
from robossl.streams.storage.row_block import RowBlock
from robossl.streams.storage.row_buffer import list_rows
from robossl.streams.storage.row_index import RowIndex
from robossl.streams.storage.tail import commit_tail, read_first_rows, read_tail, remove_tail, tail_number
from robossl.streams.stream_header import read_header, save_header

COMMIT_ROWS = 32768  # a chunk is written after this many rows
COMMIT_BYTES = 64 << 20  # [bytes] or after this many bytes
TAIL_INTERVAL = 5.0  # [s] after which uncommitted rows are written to the tail
_TAIL_SHARE = 0.05  # of the time may be spent on writing tails


class Store:
    """Rows of several lanes in a folder. One writer at a time, any number of readers."""

    def __init__(self, path: str | Path, cache_bytes: int) -> None:
        """Open the folder `path`, with at most `cache_bytes` of cached small fields."""
        self.path = Path(path)
        self.commit_rows, self.commit_bytes, self.tail_interval = COMMIT_ROWS, COMMIT_BYTES, TAIL_INTERVAL
        self._tail_due = float("inf")  # [s] when the uncommitted rows are to be written to the tail
        self._cache_bytes = cache_bytes
        self._lock: WriterLock | None = None
        self._load()

    def _load(self) -> None:
        """Read the header and all chunks."""
        self.header = read_header(self.path)
        self.schema = Schema.from_json(self.header)
        self.lanes: int = self.header["lanes"]
        self.id: str = self.header["id"]
        groups = self.header.get("lane_groups") or ()
        splits = Splits(self.header.get("split_id") or self.id, self.lanes, groups)
        self._begin_empty(splits)
        self._load_chunks()

    def _begin_empty(self, splits: Splits) -> None:
        """Forget all rows; `schema` and `lanes` are set."""
        self._new_rows = RowBlock(self.schema, self.lanes)
        self._row_index = RowIndex(self.lanes, splits)
        self.chunk_reader = ChunkReader(self.path, self.schema, self.lanes)
        self._field_cache = FieldCache(self.schema, self.lanes, self._cache_bytes, self.chunk_reader)
        self._next = 0  # number of the next chunk
        self._has_tail = False  # the last chunk of the reader is the tail

    @property
    def _index(self) -> RowIndex:
        """The index of all rows, the newest ones included."""
        self._add_new_rows()
        return self._row_index

    @property
    def _cache(self) -> FieldCache:
        """The cache of all rows, the newest ones included."""
        self._add_new_rows()
        return self._field_cache

    def _add_new_rows(self) -> None:
        """Add the rows that were appended since the last call."""
        if self._new_rows.count:
            count, arrays = self._new_rows.sorted_rows()
            index = self._row_index
            self._add_rows(Chunk(self._next, index.written, count, index.episodes_started), arrays)
            self._new_rows.count = 0

    def _add_rows(self, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows that are not in a chunk file yet, sorted by lane."""
        lane, position = list_rows(chunk.rows, self._row_index.lengths)
        self._field_cache.append(lane, position, arrays)
        self._row_index.load(chunk, arrays)

    def _load_chunks(self) -> None:
        """Read the chunks that are new since the last call."""
        lost = {entry["chunk"]: entry["rows"] for entry in self.header["lost_chunks"]}
        try:
            num_committed, _ = read_head(self.path, self.lanes)
        except CorruptedFileError as error:
            raise self._damaged(error) from error
        last = max([num_committed - 1, *chunk_numbers(self.path), *lost], default=-1)
        if last >= self._next and self._has_tail:
            self._load()  # the rows of the tail are in a chunk now
            return
        for number in range(self._next, last + 1):
            if number in lost:
                self._index.mark_lost(None if lost[number] is None else np.array(lost[number], np.int64))
            else:
                self._load_chunk(number)
            self._next = number + 1
        self._load_tail()
        self._cache.load_new_chunks()
        self._store_committed_state()

    def _load_chunk(self, number: int) -> None:
        try:
            chunk, arrays = read_chunk(self.path, self.id, self.schema, self.lanes, number)
            if not self._index.is_next(chunk):
                raise CorruptedFileError(f"{chunk_name(number)} does not begin where the previous rows end")
        except CorruptedFileError as error:
            raise self._damaged(error) from error
        self._index.load(chunk, arrays)
        self.chunk_reader.add(chunk)

    def _load_tail(self) -> None:
        """Read the tail like a chunk; the writer has its rows in memory, or commits them when it acquires the lock."""
        if self._lock is not None:
            return
        try:
            tail = read_tail(self.path, self.id, self.schema, self.lanes, self._next)
        except CorruptedFileError as error:
            raise self._damaged(error) from error
        if tail is not None and not self._has_tail and self._index.is_next(tail[0]):
            self._index.load(*tail)
            self.chunk_reader.add(*tail)
            self._has_tail = True

    def _damaged(self, error: CorruptedFileError) -> CorruptedStreamError:
        return CorruptedStreamError(
            f"{self.path} is damaged: {error}; to set the damaged file aside and keep the rest: "
            f"robossl stream validate --repair {shell_path(self.path)}"
        )

    def _store_committed_state(self) -> None:
        """Store the committed state, to detect changes by other processes."""
        self._episodes_started = self._index.episodes_started.copy()  # (L,) before the next chunk
        self._committed_fingerprint = self.chunk_reader.fingerprint()

    # --- writing

    def acquire(self) -> None:
        """Become the writer; raise UsageError if there is another one."""
        if self._lock is None:
            self._lock = WriterLock(self.path)
            for leftover in self.path.glob(".*.tmp"):  # from a writer that died
                leftover.unlink()
            try:
                self._commit_old_tail()
                self.refresh()
            except BaseException:
                self._lock.release()
                self._lock = None
                raise

    def _commit_old_tail(self) -> None:
        """Commit the tail of a writer that died."""
        if not os.path.lexists(self.path / TAIL_FILE):
            return
        self._load()  # without the tail
        try:
            tail = read_tail(self.path, self.id, self.schema, self.lanes, self._next)
            if tail is None and (tail_number(self.path) or 0) > self._next:
                raise CorruptedFileError(f"{TAIL_FILE} does not begin where the previous rows end")
        except CorruptedFileError as error:
            raise self._damaged(error) from error
        if tail is None:
            remove_tail(self.path)  # its rows are in a chunk
        else:
            commit_tail(self.path, tail[0])

    def append(self, rows: Mapping[str, np.ndarray], lanes: np.ndarray | None = None) -> None:
        """Append one row of every field to each of `lanes`.

        Args:
            rows: (k, *shape) by field name.
            lanes: (k,) different lanes; all lanes by default.

        Raises:
            UsageError: If a field is missing, unknown or does not fit; then nothing is appended.
        """
        self.acquire()
        lane = np.arange(self.lanes) if lanes is None else np.asarray(lanes, np.int64)
        if len(lane) == 0:
            return
        if self._new_rows.count == 0:
            self._new_rows.begin(self._row_index.episode_open, self._num_uncommitted())
        if not self._new_rows.add(lane, rows):
            values = self.schema.check(rows, len(lane))
            self._index.check(lane, values)
            self._cache.append(lane, self._index.lengths[lane], values)
            self._index.append(lane, values)
        elif self._new_rows.is_full:
            self._add_new_rows()
        self._commit_when_due()

    def extend(self, rows: Mapping[str, np.ndarray], lane: int) -> None:
        """Append consecutive rows (n, *shape) of every field to one lane: whole episodes, or pieces of one."""
        self.acquire()
        if not 0 <= lane < self.lanes:
            raise UsageError(f"expected a lane from 0 to {self.lanes - 1}, got {lane}")
        count = len(rows["is_first"]) if "is_first" in rows else 0
        values = self.schema.check(rows, count)
        if count == 0:
            return
        self._index.check_run(lane, values)
        position = self._index.lengths[lane] + np.arange(count)
        self._cache.append(np.full(count, lane), position, values)
        self._index.extend(lane, values)
        self._commit_when_due()

    def _num_uncommitted(self) -> int:
        """Return the number of rows that are not in a chunk yet."""
        if self._new_rows.count:
            return self._new_rows.uncommitted + self._new_rows.count
        return int((self._row_index.lengths - self.chunk_reader.rows).sum())

    def _commit_when_due(self) -> None:
        num_uncommitted = self._num_uncommitted()
        if (
            num_uncommitted >= self.commit_rows
            or num_uncommitted * self.schema.row_bytes >= self.commit_bytes
        ):
            self.commit()
            return
        now = time.monotonic()
        if self._tail_due == float("inf"):
            self._tail_due = now + self.tail_interval
        elif now >= self._tail_due:
            with contextlib.suppress(OperationError):  # a full disk: the next commit reports it
                self._write_rows(is_tail=True)
            duration = time.monotonic() - now
            self._tail_due = now + duration + max(self.tail_interval, duration / _TAIL_SHARE)

    def commit(self) -> None:
        """Write the uncommitted rows as one chunk. After this call only a disk failure can lose them."""
        chunk = self._write_rows()
        if chunk is None:
            return
        if self._tail_due < float("inf"):
            remove_tail(self.path)
            self._tail_due = float("inf")
        self.chunk_reader.add(chunk)
        self._next += 1
        self._cache.on_commit()
        self._store_committed_state()

    def _write_rows(self, is_tail: bool = False) -> Chunk | None:
        """Write the uncommitted rows as the next chunk or as the tail; None if there are none."""
        start = self.chunk_reader.rows
        count = self._index.lengths - start
        if not count.any():
            return None
        lane, position = list_rows(count, start)
        arrays = {n: self._cache.uncommitted(n, lane, position) for n in self.schema.names if n not in FLAGS}
        flag_bytes = self._index.flag_bytes(lane, position)
        arrays |= {name: self._index.flag(name, flag_bytes) for name in FLAGS}
        chunk = Chunk(self._next, self._index.written - count, count, self._episodes_started, is_tail)
        write_chunk(self.path, self.id, chunk, arrays)
        return chunk

    def close(self) -> None:
        """Commit and release the writer lock. The stream can still be read, and appended to again."""
        if self._lock is not None:
            self.commit()
            self._lock.release()
            self._lock = None

    def offset(self, end_chunk: bool = True) -> dict[str, Any]:
        """Write all rows to disk, and return the offset of the end of the stream for `truncate` in any process.

        Args:
            end_chunk: Commit the rows as a chunk; False: write them to the tail, so that chunks begin and end where
                they would without this call.
        """
        if end_chunk:
            self.commit()
        elif self._write_rows(is_tail=True) is not None and self._tail_due == float("inf"):
            self._tail_due = time.monotonic() + self.tail_interval
        return {"stream": self.id, "chunks": self._next, "rows": self._index.written.tolist()}

    def truncate(self, offset: Mapping[str, Any]) -> None:
        """Remove everything after `offset`, uncommitted rows included."""
        self.acquire()
        lost = self.header["lost_chunks"]
        chunks, start, rest = check_offset(offset, self.path, self.id, self._next, self.chunk_reader, lost)
        kept = (
            read_first_rows(self.path, self.id, self.schema, self.lanes, chunks, rest) if rest.any() else None
        )
        if kept is not None:
            write_chunk(self.path, self.id, *kept)  # the tail, before the chunk with these rows is removed
        write_head(self.path, chunks, start)
        if (kept_lost := [entry for entry in lost if entry["chunk"] < chunks]) != lost:
            save_header(self.path, {**self.header, "lost_chunks": kept_lost})
        for number in reversed([n for n in chunk_numbers(self.path) if n >= chunks]):
            (self.path / chunk_name(number)).unlink()
        if kept is None:
            remove_tail(self.path)
        sync_folder(self.path)
        self._tail_due = float("inf")
        self._load()
        if kept is not None:
            self._add_rows(*kept)
            self._tail_due = time.monotonic() + self.tail_interval

    # --- reading

    def refresh(self) -> None:
        """Load what another process has committed since; a writer with uncommitted rows has all rows."""
        if self._lock is not None and self._num_uncommitted():
            return
        if (
            self.chunk_reader.fingerprint() != self._committed_fingerprint
            or read_header(self.path) != self.header
        ):
            self._load()  # truncated or repaired by another process
        else:
            self._load_chunks()

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of rows in each lane, (L,)."""
        return self._index.lengths.copy()

    def read(
        self, lane: int, start: int, stop: int, fields: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Return rows [start, stop) of a lane by field name, (stop - start, *shape) each."""
        if not 0 <= lane < self.lanes:
            raise UsageError(f"expected a lane from 0 to {self.lanes - 1}, got {lane}")
        length = int(self._index.lengths[lane])
        if not 0 <= start <= stop <= length:
            raise UsageError(f"expected rows within the {length} of lane {lane}, got {start} to {stop}")
        names = self.schema.names if fields is None else [self.schema[name].name for name in fields]
        rows_by_field = self._fetch(np.array([lane]), np.array([start]), stop - start, names)
        return {name: rows_by_field[name][0] for name in names}

    def gather(self, lane: np.ndarray, position: np.ndarray, fields: Iterable[str]) -> dict[str, np.ndarray]:
        """Return single rows of `lane` (B,) at `position` (B,) by field name, (B, *shape) each."""
        names = [self.schema[name].name for name in fields]
        lane, position = np.asarray(lane), np.asarray(position)
        missing = (lane < 0) | (lane >= self.lanes)
        missing = missing | (position < 0) | (position >= self.lengths[np.where(missing, 0, lane)])
        if missing.any():
            first = int(np.flatnonzero(missing)[0])
            raise UsageError(
                f"expected rows within the lanes, which have {self.lengths.tolist()} rows; "
                f"got row {position[first]} of lane {lane[first]}"
            )
        rows_by_field = self._fetch(lane, position, 1, names)
        return {name: rows_by_field[name][:, 0] for name in names}

    def _fetch(
        self,
        lane: np.ndarray,
        start: np.ndarray,
        rows: int,
        names: Iterable[str],
        shorter: Iterable[str] = (),
        cache: bool = False,
    ) -> dict[str, np.ndarray]:
        """Return `rows` rows from `start` (B,) of `lane` (B,) on: (B, rows, *shape) by name.

        Fields in `shorter` are read without the last row of each piece.
        """
        all_names = [*names, *shorter]
        values_by_field = self._cache.read(
            [n for n in all_names if n not in FLAGS], lane, start, rows, set(shorter), cache
        )
        if len(values_by_field) < len(all_names):
            flag_bytes = self._index.pieces(lane, start, rows)
            shorter_bytes = flag_bytes[:, :-1]
            for name in (n for n in all_names if n in FLAGS):
                values_by_field[name] = self._index.flag(
                    name, shorter_bytes if name in shorter else flag_bytes
                )
        return values_by_field
