"""A stream: everything that a set of env lanes lived through, in order, on disk, append-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space

from robossl.core.errors import DamagedFile, RequestError, unknown
from robossl.core.files import sync_folder, write_json
from robossl.streams.archive import Archive
from robossl.streams.chunks import (
    Chunk,
    DamagedStream,
    chunk_name,
    chunk_numbers,
    read_chunk,
    read_head,
    write_chunk,
    write_head,
)
from robossl.streams.header import HEADER, read_header, write_header
from robossl.streams.ledger import MARKS, Ledger
from robossl.streams.lock import WriterLock
from robossl.streams.memory import Memory
from robossl.streams.sampling import Sampler, Uniform, draw
from robossl.streams.schema import Schema
from robossl.streams.splits import SPLITS, Splits, split_index
from robossl.streams.table import ragged
from robossl.streams.window import Episode, Window

MEMORY = 1 << 30  # [bytes] of small fields kept in memory for sampling; beyond, they are read from the files
COMMIT_ROWS = 32768  # a chunk is written when so many rows wait
COMMIT_BYTES = 64 << 20  # [bytes] or so many bytes


class Stream:
    """An append-only record of `lanes` lanes. One writer at a time, any number of readers.

    Row t of a lane holds observation[t], the action[t] taken there, and what it brought: reward[t],
    terminated[t], truncated[t]. The last row of an episode holds its final observation and no action.
    valid[t]: action[t] leads from row t to row t+1.
    """

    def __init__(self, path: str | Path, memory: int = MEMORY) -> None:
        """Open the stream in the folder `path`; `memory` bytes at most keep small fields at hand."""
        self.path = Path(path)
        self.commit_rows, self.commit_bytes = COMMIT_ROWS, COMMIT_BYTES
        self._budget = memory
        self._lock: WriterLock | None = None
        self._load()

    @classmethod
    def open(cls, path: str | Path, memory: int = MEMORY) -> Stream:
        """Open an existing stream; the first append makes this object its writer."""
        return cls(path, memory)

    @classmethod
    def create(
        cls, path: str | Path, schema: Schema, lanes: int, memory: int = MEMORY, **facts: Any
    ) -> Stream:
        """Begin a stream of `lanes` lanes in a new folder and become its writer.

        `facts` go into the header: env, seed, policy, backend, variations and whatever else is worth knowing.
        """
        write_header(Path(path), schema, lanes, facts)
        stream = cls(path, memory)
        stream.acquire()
        return stream

    def _load(self) -> None:
        """Read the header and all chunks."""
        self.header = read_header(self.path)
        self.schema = Schema.from_json(self.header)
        self.lanes: int = self.header["lanes"]
        self.id: str = self.header["id"]
        self._ledger = Ledger(self.lanes, Splits(self.id))
        self._archive = Archive(self.path, self.id, self.schema, self.lanes)
        self._memory = Memory(self.schema, self.lanes, self._budget, self._archive)
        self._next = 0  # the number of the next chunk
        self._load_chunks()

    def _load_chunks(self) -> None:
        """Read the chunks that are new since the last time."""
        lost = {entry["chunk"]: entry["rows"] for entry in self.header.get("lost", [])}
        numbers = [n for n in chunk_numbers(self.path) if n >= self._next]
        committed, _ = read_head(self.path, self.lanes)
        stop = max([committed, *(n + 1 for n in numbers), *(n + 1 for n in lost)], default=0)
        for number in range(self._next, stop):
            if number in lost:
                self._ledger.lose(None if lost[number] is None else np.array(lost[number], np.int64))
                self._next = number + 1
                continue
            try:
                chunk, arrays = read_chunk(self.path, self.id, self.schema, self.lanes, number)
            except DamagedFile as error:
                raise DamagedStream(
                    f"{self.path} is damaged: {error}; to set the chunk aside and keep the rest: "
                    f"robossl stream validate --repair {self.path}"
                ) from error
            self._ledger.load(chunk, arrays)
            self._archive.add(chunk)
            self._next = number + 1
        self._memory.follow()
        self._settle()

    def _settle(self) -> None:
        """Remember what is committed."""
        self._begun = self._ledger.begun.copy()  # (L,) episodes begun before the next chunk
        self._newest = self._fingerprint()

    def _fingerprint(self) -> tuple[int, ...]:
        """What tells the newest chunk file from another of the same name."""
        if not self._archive.chunks:
            return ()
        try:
            status = (self.path / chunk_name(self._archive.chunks[-1].number)).stat()
        except FileNotFoundError:
            return (-1,)
        return status.st_ino, status.st_size, status.st_mtime_ns

    # --- what there is

    @property
    def observation_space(self) -> Space:
        """The observation space of a single lane."""
        return self.schema.observation_space

    @property
    def action_space(self) -> Space:
        """The action space of a single lane."""
        return self.schema.action_space

    @property
    def lengths(self) -> np.ndarray:
        """Rows in each lane, (L,)."""
        return self._ledger.lengths.copy()

    @property
    def rows(self) -> int:
        """Rows in all lanes together."""
        return int(self._ledger.lengths.sum())

    @property
    def transitions(self) -> int:
        """Rows whose action and outcome are both here."""
        return self._ledger.transitions

    @property
    def counts(self) -> dict[str, int]:
        """Rows that begin a transition, by split."""
        return dict(zip(SPLITS, self._ledger.counts.tolist()))

    # --- writing

    def acquire(self) -> None:
        """Become the writer; `RequestError` while there is another one."""
        if self._lock is None:
            self._lock = WriterLock(self.path)
            self.refresh()

    def append(self, rows: Mapping[str, np.ndarray], lanes: np.ndarray | None = None) -> None:
        """One row (k, *shape) of every field for each of `lanes` (k,), all different; without them, for all.

        `RequestError` where a field is missing, unknown or of another shape; then nothing is appended.
        """
        self.acquire()
        lane = np.arange(self.lanes) if lanes is None else np.asarray(lanes, np.int64)
        if len(lane) == 0:
            return
        values = {}
        for field in self.schema.fields:
            if field.name not in rows:
                raise RequestError(f"a row lacks the field {field.name!r}; there are: {', '.join(rows)}")
            value = np.asarray(rows[field.name])
            if value.shape != (len(lane), *field.shape):
                raise RequestError(
                    f"{field.name!r} has shape {value.shape}; expected {(len(lane), *field.shape)}"
                )
            if not np.can_cast(value.dtype, field.dtype, "same_kind"):
                raise RequestError(f"{field.name!r} is {value.dtype}; expected {field.dtype}")
            values[field.name] = value.astype(field.dtype, copy=False)
        if len(rows) > len(values):
            raise unknown("field", next(name for name in rows if name not in values), self.schema.names)
        self._ledger.check(lane, values)
        self._memory.append(lane, self._ledger.lengths[lane], values)
        self._ledger.append(lane, values)
        waiting = self.rows - int(self._archive.rows.sum())
        if waiting >= self.commit_rows or waiting * self.schema.row_bytes >= self.commit_bytes:
            self.commit()

    def commit(self) -> None:
        """Write the waiting rows as one chunk. After this they survive anything but the disk."""
        start = self._archive.rows
        count = self._ledger.lengths - start
        if not count.any():
            return
        self.acquire()
        lane, position = ragged(count, start)
        arrays = {
            name: self._ledger.mark(name, lane, position)
            if name in MARKS
            else self._memory.waiting(name, lane, position)
            for name in self.schema.names
        }
        chunk = Chunk(self._next, self._ledger.written - count, count, self._begun)
        write_chunk(self.path, self.id, chunk, arrays)
        self._archive.add(chunk)
        self._next += 1
        self._memory.committed()
        self._settle()

    def mark(self) -> dict[str, Any]:
        """Commit, and name the place: `truncate` comes back to it, in this process or a later one."""
        self.commit()
        return {"stream": self.id, "chunks": self._next, "rows": self._ledger.written.tolist()}

    def truncate(self, mark: Mapping[str, Any]) -> None:
        """Drop everything after `mark`, waiting rows included."""
        self.acquire()
        if mark.get("stream") != self.id:
            raise RequestError(f"the mark belongs to stream {mark.get('stream')}; {self.path} is {self.id}")
        rows, chunks = np.array(mark["rows"], np.int64), int(mark["chunks"])
        if chunks > self._next or rows.shape != (self.lanes,):
            raise RequestError(f"the mark lies after chunk {chunks - 1}; {self.path} has {self._next} chunks")
        write_head(self.path, chunks, rows)
        lost = [entry for entry in self.header["lost"] if entry["chunk"] < chunks]
        if lost != self.header["lost"]:
            write_json(self.path / HEADER, {**self.header, "lost": lost})
        for number in reversed([n for n in chunk_numbers(self.path) if n >= chunks]):
            (self.path / chunk_name(number)).unlink()
        sync_folder(self.path)
        self._load()

    def refresh(self) -> None:
        """See what another process has committed since."""
        if self._fingerprint() != self._newest or read_header(self.path) != self.header:
            self._load()  # truncated or repaired meanwhile
        else:
            self._load_chunks()

    def close(self) -> None:
        """Commit and let another writer in. The stream can still be read, and appended to again."""
        if self._lock is not None:
            self.commit()
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Stream:
        """The stream itself; the end of the block closes it."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()

    # --- reading

    def windows(
        self,
        batch: int,
        length: int,
        rng: np.random.Generator,
        split: str | None = "train",
        fields: Iterable[str] | None = None,
        sampler: Sampler | None = None,
    ) -> Window:
        """`batch` windows of `length` actions, drawn with replacement, waiting rows included.

        Each begins at a row of the split that begins a transition, every such row alike unless a `sampler`
        prefers some. A window may run into the next episode, see `Window.mask`. `fields` are read besides,
        [B, T+1, ...]. `RequestError` where nothing can be sampled.
        """
        if batch < 1 or length < 1:
            raise RequestError(
                f"{batch} windows of {length} actions were asked for; expected at least 1 of 1"
            )
        lane, start = draw(self._ledger, batch, length, rng, split, sampler or Uniform())
        observed = [*self.schema.observations, *(self.schema[name].name for name in fields or ())]
        taken = ("action", "reward", "terminated", "truncated", "valid")
        found = self._fetch(lane, start, length, taken, admit=True)
        parts = self._fetch(lane, start, length + 1, observed, admit=True)
        return Window(
            self.schema.join(parts),
            *(found[name] for name in taken),
            lane=lane,
            start=start,
            fields={name: parts[name] for name in fields or ()},
        )

    def read(
        self, lane: int, start: int, stop: int, fields: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows [start, stop) of a lane by field name, (stop - start, *shape) each."""
        if not 0 <= lane < self.lanes:
            raise RequestError(f"no lane {lane}; there are lanes 0 to {self.lanes - 1}")
        if not 0 <= start <= stop <= self._ledger.lengths[lane]:
            raise RequestError(
                f"rows {start} to {stop} of lane {lane} were asked for; it has {self._ledger.lengths[lane]}"
            )
        names = [self.schema[name].name for name in fields] if fields is not None else self.schema.names
        found = self._fetch(np.array([lane]), np.array([start]), stop - start, names, admit=False)
        return {name: array[0] for name, array in found.items()}

    def _fetch(
        self, lane: np.ndarray, start: np.ndarray, rows: int, names: Iterable[str], admit: bool
    ) -> dict[str, np.ndarray]:
        """Pieces of `rows` rows that begin at `start` (B,) of `lane` (B,): (B, rows, *shape) by name."""
        position = start[:, None] + np.arange(rows)
        lanes = np.broadcast_to(lane[:, None], position.shape)
        found = self._memory.take([n for n in names if n not in MARKS], lanes, position, admit)
        return {n: self._ledger.mark(n, lanes, position) if n in MARKS else found[n] for n in names}

    def observation(self, parts: Mapping[str, np.ndarray]) -> Any:
        """Arrays by field name, as `read` gives them, become an observation batch of the env."""
        return self.schema.join(parts)

    def episodes(self, split: str | None = None) -> list[Episode]:
        """All episodes, or those of a split, lane after lane; the ones still going on too."""
        return self._ledger.episodes(None if split is None else split_index(split))
