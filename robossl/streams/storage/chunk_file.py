"""Chunk file of a stream: a safetensors file with the rows of every lane, sorted by lane."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import map_tensors, resolve_within, write_json, write_tensors
from robossl.streams.schema import Schema

_NAME = re.compile(r"chunk-(\d{6,})\.safetensors")
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
    """Commit a chunk: write its file atomically, then update `head.json`."""
    lanes = {"lanes.start": chunk.start, "lanes.rows": chunk.rows, "lanes.episodes": chunk.episodes}
    metadata = {"stream": stream, "chunk": str(chunk.number)}
    write_tensors(folder / chunk_name(chunk.number), {**arrays, **lanes}, metadata)
    write_head(folder, chunk.number + 1, chunk.start + chunk.rows)


def write_head(folder: Path, chunks: int, rows: np.ndarray) -> None:
    """Write `head.json`: `chunks` chunks with `rows` (L,) rows are committed."""
    write_json(folder / HEAD_FILE, {"chunks": chunks, "rows": rows.tolist()})


def read_head(folder: Path, lanes: int) -> tuple[int, np.ndarray | None]:
    """Return the number of committed chunks and rows (L,); (0, None) if unknown."""
    try:
        head = json.loads((folder / HEAD_FILE).read_text())
        rows = np.array(head["rows"], np.int64)
        return (int(head["chunks"]), rows) if rows.shape == (lanes,) else (0, None)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def read_chunk(
    folder: Path, stream: str, schema: Schema, lanes: int, number: int
) -> tuple[Chunk, dict[str, np.ndarray]]:
    """Return a chunk and its arrays as read-only views of the memory-mapped file.

    Raises:
        CorruptedFileError: If the chunk is missing or malformed, with the reason.
    """
    path = resolve_within(folder, chunk_name(number))  # no symbolic link out of the folder
    try:
        arrays, metadata = map_tensors(path)
    except UsageError as error:
        raise CorruptedFileError(f"{path.name} is missing") from error
    if metadata.get("stream") != stream or metadata.get("chunk") != str(number):
        raise CorruptedFileError(
            f"expected chunk {number} of stream {stream} in {path.name}, got chunk {metadata.get('chunk')} of stream "
            f"{metadata.get('stream')}"
        )
    counts = []
    for name in ("lanes.start", "lanes.rows", "lanes.episodes"):
        array = arrays.pop(name, None)
        if array is None or array.shape != (lanes,) or array.dtype != np.int64 or (array < 0).any():
            raise CorruptedFileError(f"{path.name} has no {name} for {lanes} lanes")
        counts.append(np.array(array))
    chunk = Chunk(number, *counts)
    total = int(chunk.rows.sum())
    for field in schema.fields:
        array = arrays.get(field.name)
        if array is None or array.shape != (total, *field.shape) or array.dtype != np.dtype(field.dtype):
            actual = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CorruptedFileError(
                f"expected {field.name!r} as {field.dtype} {(total, *field.shape)} in {path.name}, got {actual}"
            )
    return chunk, arrays
