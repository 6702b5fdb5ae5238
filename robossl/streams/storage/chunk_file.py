"""Chunk file of a stream: a safetensors file with the rows of every lane, sorted by lane.

The tail is a chunk file under another name, with the rows that do not fill a chunk yet. It is written again every few
seconds, so that a crash loses little, and removed when its rows are committed as a chunk. Where chunks begin and end
therefore does not depend on time.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import map_tensors, read_json, resolve_within, write_json, write_tensors
from robossl.core.small_files import checked, checked_ints
from robossl.streams.schema import FLAGS, Schema

LANE_ARRAYS = ("lanes.start", "lanes.rows", "lanes.episodes")
MAX_CHUNKS = 10**9
_MAX_ROWS = 1 << 48  # of a lane
_NAME = re.compile(r"chunk-(\d{6,9})\.safetensors")
TAIL_FILE = "tail.safetensors"
HEAD_FILE = "head.json"  # number of committed chunks and rows: detects a missing last chunk


class CorruptedStreamError(CorruptedFileError):
    """A chunk is missing, truncated or not what its name states; earlier chunks are intact."""


@dataclass(frozen=True)
class Chunk:
    """Position of the rows of one chunk. Counts are as written, before any chunk was lost."""

    number: int
    start: np.ndarray  # (L,) number of the first row in each lane
    rows: np.ndarray  # (L,) number of rows of each lane
    episodes: np.ndarray  # (L,) episodes begun in each lane before this chunk
    is_tail: bool = False  # its file is `TAIL_FILE`

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return TAIL_FILE if self.is_tail else chunk_name(self.number)

    @cached_property
    def offset(self) -> np.ndarray:
        """Return where each lane's rows begin in the arrays of the file, (L,)."""
        return np.cumsum(self.rows) - self.rows


def chunk_name(number: int) -> str:
    """Return the file name of a chunk."""
    return f"chunk-{number:06d}.safetensors"


def chunk_numbers(folder: Path) -> list[int]:
    """Return the numbers of all chunk files in order."""
    return sorted(int(match[1]) for p in folder.iterdir() if (match := _NAME.fullmatch(p.name)))


def write_chunk(folder: Path, stream: str, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> None:
    """Commit a chunk: write its file atomically, then update `head.json`; of a tail, write its file only."""
    lanes = {"lanes.start": chunk.start, "lanes.rows": chunk.rows, "lanes.episodes": chunk.episodes}
    metadata = {
        "stream": stream,
        "chunk": str(chunk.number),
        "index_crc32": _index_checksum({**arrays, **lanes}),
    }
    write_tensors(folder / chunk.file_name, {**arrays, **lanes}, metadata)
    if not chunk.is_tail:
        write_head(folder, chunk.number + 1, chunk.start + chunk.rows)


def write_head(folder: Path, chunks: int, rows: np.ndarray) -> None:
    """Write `head.json`: `chunks` chunks with `rows` (L,) rows are committed."""
    write_json(folder / HEAD_FILE, {"chunks": chunks, "rows": rows.tolist()}, checksum=True)


def read_head(folder: Path, lanes: int) -> tuple[int, np.ndarray]:
    """Return the number of committed chunks and rows (L,).

    Raises:
        CorruptedFileError: If the file is damaged, or missing although there are chunks: others may be missing too.
    """
    if not os.path.lexists(folder / HEAD_FILE):
        if chunk_numbers(folder):
            raise CorruptedFileError(f"{HEAD_FILE} is missing, so the last chunks may be missing too")
        return 0, np.zeros(lanes, np.int64)
    try:
        path = resolve_within(folder, HEAD_FILE)
        head = read_json(path, checksum=True)
    except UsageError as error:
        raise CorruptedFileError(f"{HEAD_FILE} cannot be read: {error}") from error
    rows = checked_ints(head, "rows", path, lanes)
    return checked(head, "chunks", int, path, 0, MAX_CHUNKS), np.array(rows, np.int64)


def read_chunk(
    folder: Path, stream: str, schema: Schema, lanes: int, number: int, tail: bool = False
) -> tuple[Chunk, dict[str, np.ndarray]]:
    """Return a chunk, or the tail, and its arrays as read-only views of the memory-mapped file.

    Raises:
        CorruptedFileError: If the chunk is missing or malformed, with the reason.
    """
    path = resolve_within(folder, TAIL_FILE if tail else chunk_name(number))  # no link out of the folder
    try:
        arrays, metadata = map_tensors(path)
    except UsageError as error:
        if not path.exists():
            raise CorruptedFileError(f"{path.name} is missing") from error
        if path.is_file() and not os.access(path, os.R_OK):
            raise  # it may be sound
        raise CorruptedFileError(f"{path.name} cannot be read: {error}") from error
    if metadata.get("stream") != stream or metadata.get("chunk") != str(number):
        raise CorruptedFileError(
            f"expected chunk {number} of stream {stream} in {path.name}, got chunk {metadata.get('chunk')} of stream "
            f"{metadata.get('stream')}"
        )
    for name in (*LANE_ARRAYS, *FLAGS):
        if name not in arrays:
            raise CorruptedFileError(f"{path.name} has no {name}")
    if metadata.get("index_crc32") != _index_checksum(arrays):
        raise CorruptedFileError(f"{path.name} is damaged: the checksum of its lanes and flags differs")
    counts = []
    for name in LANE_ARRAYS:
        array = arrays.pop(name)
        if (
            array.shape != (lanes,)
            or array.dtype != np.int64
            or (array < 0).any()
            or (array > _MAX_ROWS).any()
        ):
            raise CorruptedFileError(f"{path.name} has no valid {name} for {lanes} lanes")
        counts.append(np.array(array))
    start, rows, episodes = counts
    chunk = Chunk(number, start, rows, episodes, tail)
    total = len(arrays["is_first"]) if arrays["is_first"].ndim else 0  # bounded by the size of the file
    if (chunk.rows > total).any() or int(chunk.rows.sum()) != total:
        raise CorruptedFileError(f"{path.name} is damaged: lanes.rows does not add up to its {total} rows")
    if (chunk.episodes > chunk.start).any():
        raise CorruptedFileError(
            f"{path.name} is damaged: lanes.episodes has more episodes than rows before it"
        )
    for field in schema.fields:
        values = arrays.get(field.name)
        if values is None or values.shape != (total, *field.shape) or values.dtype != np.dtype(field.dtype):
            actual = "nothing" if values is None else f"{values.dtype} {values.shape}"
            raise CorruptedFileError(
                f"expected {field.name!r} as {field.dtype} {(total, *field.shape)} in {path.name}, got {actual}"
            )
    for name in FLAGS:
        if (arrays[name].view(np.uint8) > 1).any():
            raise CorruptedFileError(f"{path.name} is damaged: {name} has bytes other than 0 and 1")
    return chunk, arrays


def _index_checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the checksum of what is read when a stream is opened: lanes and flags."""
    checksum = 0
    for name in (*LANE_ARRAYS, *FLAGS):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"
