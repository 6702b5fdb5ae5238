"""Shards: one read-only stream over the streams of several collectors.

FOLDER/shards.json      number of shards, and what reproduces them
FOLDER/shard-0, ...     ordinary streams of the same envs, each written by one collector
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import write_json
from robossl.core.small_files import checked, read_json
from robossl.streams.schema import Schema
from robossl.streams.splits import Splits
from robossl.streams.storage.chunk_file import (
    Chunk,
    CorruptedStreamError,
    chunk_name,
    chunk_numbers,
    read_chunk,
    read_head,
)
from robossl.streams.stream import Stream, reader_of
from robossl.streams.stream_header import HEADER, read_header

SHARDS = "shards.json"
_FORMAT = 1
_MAX_SHARDS = 1 << 16


def shard_folder(folder: str | Path, shard: int) -> Path:
    """Return the folder of one shard."""
    return Path(folder) / f"shard-{shard}"


def is_shards(folder: str | Path) -> bool:
    """Return whether a folder has shards."""
    return (Path(folder) / SHARDS).is_file()


def write_shards(folder: Path, count: int, settings: Mapping[str, Any]) -> None:
    """Write shards.json: `count` shards, and the settings that reproduce them."""
    content = {"format": _FORMAT, "shards": count, "settings": dict(settings)}
    write_json(folder / SHARDS, content, checksum=True)


def read_shards(folder: str | Path) -> tuple[int, dict[str, Any]]:
    """Return the number of shards in a folder, and their settings.

    Raises:
        UsageError: Their format is not supported.
        CorruptedFileError: shards.json is damaged.
    """
    path = Path(folder) / SHARDS
    content = read_json(path, checksum=True)
    if checked(content, "format", int, path) != _FORMAT:
        raise UsageError(f"{path}: expected format {_FORMAT}, got {content['format']}")
    return checked(content, "shards", int, path, 1, _MAX_SHARDS), checked(content, "settings", dict, path)


@dataclass(frozen=True)
class _ShardChunk(Chunk):
    """A chunk of a shard, with the lanes of all shards."""

    folder: str = ""

    @property
    def file_name(self) -> str:
        """Path of its file in the folder of the shards."""
        return f"{self.folder}/{chunk_name(self.number)}"


@dataclass
class _Part:
    """One shard, as far as it is loaded."""

    folder: Path
    header: dict[str, Any]
    lanes: slice  # of all lanes
    next: int = 0  # number of its next chunk


@reader_of(SHARDS)
class Shards(Stream):
    """The committed rows of all shards of a folder as one stream: the lanes of shard 0, then those of shard 1, ...

    It cannot be written. Blocks that collectors add later are there after `refresh`.

    Example:
        stream = robossl.streams.Stream.open("streams/many")  # Shards, if workers recorded it
        model = robossl.pretrain(stream, out="models/many")
    """

    def _load(self) -> None:
        count, settings = read_shards(self.path)
        headers = [self._header_of(shard) for shard in range(count)]
        ends = np.cumsum([header["lanes"] for header in headers]).tolist()
        self._parts = [
            _Part(shard_folder(self.path, shard), header, slice(end - header["lanes"], end))
            for shard, (header, end) in enumerate(zip(headers, ends))
        ]
        first = headers[0]
        self.schema, self.lanes = Schema.from_json(first), ends[-1]
        for shard, header in enumerate(headers):
            if Schema.from_json(header).to_json() != self.schema.to_json():
                raise UsageError(
                    f"expected shards of the same observations and actions, got others in {self._parts[shard].folder}"
                )
        self.id = hashlib.blake2b("".join(h["id"] for h in headers).encode(), digest_size=8).hexdigest()
        seed = settings.get("seed", first.get("seed"))
        self.header = {**first, "id": self.id, "lanes": self.lanes, "seed": seed, "lost_chunks": []}
        self._begin_empty(Splits(first.get("split_id") or self.id))
        self._load_chunks()

    def _header_of(self, shard: int) -> dict[str, Any]:
        """Return the header of a shard.

        Raises:
            CorruptedStreamError: The shard is missing or damaged.
        """
        folder = shard_folder(self.path, shard)
        if not (folder / HEADER).is_file():
            raise CorruptedStreamError(
                f"{self.path} is incomplete: expected a stream in {folder.name}, got none; to record it again: "
                f"robossl collect --resume {self.path}"
            )
        try:
            header = read_header(folder)
        except CorruptedFileError as error:
            raise self._damaged(error) from error
        if (found := header.get("shard", shard)) != shard:
            raise CorruptedStreamError(
                f"{self.path} is damaged: expected shard {shard} in {folder.name}, got shard {found}; give the folders "
                "their names again"
            )
        return header

    def _load_chunks(self) -> None:
        """Read the chunks of all shards that are new since the last call."""
        for part in self._parts:
            with self._naming(part):
                self._load_part(part)
        self._cache.load_new_chunks()
        self._store_committed_state()

    @contextmanager
    def _naming(self, part: _Part) -> Iterator[None]:
        """Name the shard, and what repairs it, in errors of damaged files."""
        try:
            yield
        except CorruptedFileError as error:
            raise self._damaged(CorruptedFileError(f"{part.folder.name}: {error}")) from error

    def _load_part(self, part: _Part) -> None:
        """Read the new chunks of one shard."""
        header, lanes = part.header, part.header["lanes"]
        lost = {entry["chunk"]: entry["rows"] for entry in header["lost_chunks"]}
        committed, _ = read_head(part.folder, lanes)
        last = max([committed - 1, *chunk_numbers(part.folder), *lost], default=-1)
        for number in range(part.next, last + 1):
            if number in lost:
                rows = lost[number]
                written = self._index.written.copy()
                written[part.lanes] = written[part.lanes] + 1 if rows is None else rows
                self._index.mark_lost(written)
            else:
                chunk, arrays = read_chunk(part.folder, header["id"], self.schema, lanes, number)
                whole = self._with_all_lanes(chunk, part)
                if not self._index.is_next(whole):
                    raise CorruptedFileError(
                        f"{chunk_name(number)} does not begin where the previous rows end"
                    )
                self._index.load(whole, arrays)
                self.chunk_reader.add(whole)
            part.next = number + 1
            self._next += 1

    def _with_all_lanes(self, chunk: Chunk, part: _Part) -> _ShardChunk:
        """Return a chunk of a shard with rows in its lanes only."""
        start = self._index.written.copy()
        rows, episodes = np.zeros(self.lanes, np.int64), np.zeros(self.lanes, np.int64)
        for values, own in ((start, chunk.start), (rows, chunk.rows), (episodes, chunk.episodes)):
            values[part.lanes] = own
        return _ShardChunk(chunk.number, start, rows, episodes, folder=part.folder.name)

    def acquire(self) -> None:
        """Refuse to become a writer."""
        raise UsageError(
            f"expected a stream to write to, got the shards of {self.path}, which their collectors write; to record "
            f"more: robossl collect --resume {self.path} --steps +N"
        )

    def refresh(self) -> None:
        """Load what collectors have committed since."""
        changed = any(self._header_of(shard) != part.header for shard, part in enumerate(self._parts))
        fewer = False
        for part in self._parts:
            with self._naming(part):
                fewer |= read_head(part.folder, part.header["lanes"])[0] < part.next
        if changed or (fewer and not any(part.header["lost_chunks"] for part in self._parts)):
            self._load()
        else:
            self._load_chunks()
