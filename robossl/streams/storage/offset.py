"""Offset of a stream: a position up to which its rows are kept when it is truncated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.storage.chunk_reader import ChunkReader


def check_offset(
    offset: Mapping[str, Any],
    path: Path,
    stream: str,
    next_chunk: int,
    reader: ChunkReader,
    lost_chunks: Sequence[Mapping[str, Any]],
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of chunks before an offset, their rows (L,), and the rows (L,) between them and the offset.

    Args:
        offset: From `Stream.offset`.
        path: Folder of the stream.
        stream: Its id.
        next_chunk: Number of its next chunk.
        reader: Its chunks.
        lost_chunks: Those that were set aside, as in the header.

    Raises:
        UsageError: If it is not an offset of this stream.
    """
    if offset.get("stream") != stream:
        raise UsageError(
            f"expected an offset of stream {stream} in {path}, got one of stream {offset.get('stream')}"
        )
    chunks, rows = int(offset["chunks"]), np.array(offset["rows"], np.int64)
    if chunks > next_chunk or rows.shape != reader.rows.shape:
        raise UsageError(
            f"expected an offset after at most {next_chunk} chunks of {path}, got one after {chunks}"
        )
    rows_before, next_rows = np.zeros_like(rows), np.zeros_like(rows)
    for chunk in reader.chunks:
        if chunk.number < chunks:
            rows_before = np.where(chunk.rows > 0, chunk.start + chunk.rows, rows_before)
        elif chunk.number == chunks:
            next_rows = chunk.rows
    for entry in lost_chunks:
        if entry["chunk"] < chunks:
            lost_rows = rows if entry["rows"] is None else np.array(entry["rows"], np.int64)
            rows_before = np.maximum(rows_before, lost_rows)
    rest = rows - rows_before
    if (rest < 0).any() or (rest > next_rows).any():
        raise UsageError(f"expected an offset in {path}, got one with other rows before it")
    return chunks, rows_before, rest
