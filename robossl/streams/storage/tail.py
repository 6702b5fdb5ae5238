"""Tail of a stream: a file with the rows that do not fill a chunk yet, written again every few seconds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import map_tensors, resolve_within, sync_folder
from robossl.streams.schema import Schema
from robossl.streams.storage.chunk_file import TAIL_FILE, Chunk, chunk_name, read_chunk, write_head
from robossl.streams.storage.row_buffer import list_rows


def tail_number(folder: Path) -> int | None:
    """Return the number of the chunk whose first rows the tail has; None if there is no tail.

    Raises:
        CorruptedFileError: If the tail is malformed.
    """
    if not os.path.lexists(folder / TAIL_FILE):
        return None
    try:
        _, metadata = map_tensors(resolve_within(folder, TAIL_FILE))
    except UsageError as error:
        if not os.path.lexists(folder / TAIL_FILE):  # its writer has just committed the rows
            return None
        raise CorruptedFileError(f"{TAIL_FILE} cannot be read: {error}") from error
    number = metadata.get("chunk", "")
    if not number.isdecimal():
        raise CorruptedFileError(
            f"{TAIL_FILE} is damaged: expected the number of a chunk, got {number!r:.40}"
        )
    return int(number)


def read_tail(
    folder: Path, stream: str, schema: Schema, lanes: int, number: int
) -> tuple[Chunk, dict[str, np.ndarray]] | None:
    """Return the tail with the first rows of chunk `number`, and its arrays; None if there is none.

    Raises:
        CorruptedFileError: If the tail is malformed.
    """
    if tail_number(folder) != number:
        return None  # no tail, or one from before a commit
    try:
        return read_chunk(folder, stream, schema, lanes, number, tail=True)
    except CorruptedFileError:
        if tail_number(folder) != number:  # replaced meanwhile
            return None
        raise


def read_first_rows(
    folder: Path, stream: str, schema: Schema, lanes: int, number: int, rows: np.ndarray
) -> tuple[Chunk, dict[str, np.ndarray]]:
    """Return a tail with copies of the first `rows` (L,) rows of each lane of chunk `number`."""
    chunk, arrays = read_chunk(folder, stream, schema, lanes, number)
    _, local = list_rows(rows, chunk.offset)
    kept = {name: np.array(values[local]) for name, values in arrays.items()}
    return Chunk(number, chunk.start, rows, chunk.episodes, is_tail=True), kept


def commit_tail(folder: Path, chunk: Chunk) -> None:
    """Make the tail a chunk by renaming it, and count it; the writer lock is required."""
    os.replace(folder / TAIL_FILE, folder / chunk_name(chunk.number))
    sync_folder(folder)
    write_head(folder, chunk.number + 1, chunk.start + chunk.rows)


def remove_tail(folder: Path) -> None:
    """Remove the tail, whose rows are in a chunk now."""
    with contextlib.suppress(FileNotFoundError):
        (folder / TAIL_FILE).unlink()
