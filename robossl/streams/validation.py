"""Validation of streams: read every byte, report damaged chunks and set them aside."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import check_tensors, resolve_within, sync_folder, write_json
from robossl.streams.schema import Schema
from robossl.streams.storage.chunk_file import Chunk, chunk_name, chunk_numbers, read_chunk, read_head
from robossl.streams.storage.lock import WriterLock
from robossl.streams.stream_header import HEADER, read_header


@dataclass(frozen=True)
class DamagedChunk:
    """A chunk that cannot be used."""

    chunk: int
    reason: str
    end: np.ndarray | None = None  # (L,) rows of each lane up to the end of the gap; None if unknown
    rows: np.ndarray | None = None  # (L,) rows lost in it; None if unknown for this chunk alone


def validate_stream(path: str | Path, repair: bool = False) -> dict[str, Any]:
    """Check every chunk of the stream at `path`; with `repair`, set the damaged ones aside.

    A repaired stream opens and can be appended to. Rows before and after a lost chunk are kept, and no transition
    crosses the gap. Repair requires the writer lock.

    Args:
        path: Folder of the stream.
        repair: Rename the files of damaged chunks to `damaged-*` and list them in the header.

    Returns:
        {"path", "ok", "repaired", "chunks", "rows", "bytes", "damaged", "lost_rows", "lost_lanes", "messages"}.
        `ok` is the state after the call. `damaged` lists {"chunk", "file", "reason", "rows"}; rows are None if
        unknown for that chunk alone. `lost_lanes` gives the lost rows by lane over all damaged chunks.
    """
    folder = Path(path)
    with contextlib.ExitStack() as stack:
        if repair:
            read_header(folder)  # raises if there is no stream
            stack.callback(WriterLock(folder).release)
        header = read_header(folder)
        intact, damaged, gaps = _inspect(folder, header)
        if repair and damaged:
            _set_aside(folder, header, damaged)
    lost = np.sum([gap for gap in gaps if gap is not None], axis=0, dtype=np.int64) * np.ones(
        header["lanes"], np.int64
    )
    report: dict[str, Any] = {
        "path": str(folder),
        "ok": repair or not damaged,
        "repaired": bool(repair and damaged),
        "chunks": len(intact),
        "rows": sum(int(chunk.rows.sum()) for chunk in intact),
        "bytes": sum((folder / chunk_name(chunk.number)).stat().st_size for chunk in intact),
        "damaged": [_damage_json(damage) for damage in damaged],
        "lost_rows": None if any(gap is None for gap in gaps) else int(lost.sum()),
        "lost_lanes": {str(lane): int(lost[lane]) for lane in np.flatnonzero(lost)},
    }
    return report | {"messages": _messages(report)}


def _inspect(
    folder: Path, header: dict[str, Any]
) -> tuple[list[Chunk], list[DamagedChunk], list[np.ndarray | None]]:
    """Return the intact chunks, the damaged ones, and the rows (L,) lost in each gap."""
    schema, lanes = Schema.from_json(header), header["lanes"]
    set_aside = {entry["chunk"]: entry["rows"] for entry in header["lost_chunks"]}  # set aside earlier
    committed, head = read_head(folder, lanes)
    last = max([committed - 1, *chunk_numbers(folder), *set_aside], default=-1)
    intact: list[Chunk] = []
    damaged: list[DamagedChunk] = []
    gaps: list[np.ndarray | None] = []
    adjacent: list[DamagedChunk] = []  # consecutive damaged chunks
    position = np.zeros(lanes, np.int64)  # (L,) end of the last intact chunk
    unknown_rows = False  # an unknown number of rows was lost since

    def close_gap(end: np.ndarray | None) -> None:
        if adjacent:
            rows = None if end is None else end - position
            gaps.append(rows)
            damaged.extend(
                DamagedChunk(d.chunk, d.reason, end, rows if len(adjacent) == 1 else None) for d in adjacent
            )
            adjacent.clear()

    for number in range(last + 1):
        if number in set_aside:
            close_gap(None)
            unknown_rows = set_aside[number] is None
            position = position if unknown_rows else np.array(set_aside[number], np.int64)
            continue
        try:
            chunk, arrays = read_chunk(folder, header["id"], schema, lanes, number)
            check_tensors(resolve_within(folder, chunk_name(number)))
            if (arrays["valid"] & arrays["is_last"]).any():
                raise CorruptedFileError(f"{chunk_name(number)} has last rows that are valid")
            if (chunk.start < position).any() or not (
                adjacent or unknown_rows or np.array_equal(chunk.start, position)
            ):
                raise CorruptedFileError(f"{chunk_name(number)} does not begin where the previous rows end")
        except (CorruptedFileError, UsageError) as error:
            adjacent.append(DamagedChunk(number, str(error)))
            continue
        close_gap(chunk.start)
        position, unknown_rows = chunk.start + chunk.rows, False
        intact.append(chunk)
    close_gap(head if committed == last + 1 else None)
    return intact, damaged, gaps


def _set_aside(folder: Path, header: dict[str, Any], damaged: list[DamagedChunk]) -> None:
    """List the damaged chunks in the header, then rename their files."""
    entries = [{"chunk": d.chunk, "rows": None if d.end is None else d.end.tolist()} for d in damaged]
    lost = sorted([*header["lost_chunks"], *entries], key=lambda entry: entry["chunk"])
    write_json(folder / HEADER, {**header, "lost_chunks": lost})
    for damage in damaged:
        source = folder / chunk_name(damage.chunk)
        if source.exists() or source.is_symlink():
            source.rename(_free_path(folder / source.name.replace("chunk-", "damaged-", 1)))
    sync_folder(folder)


def _free_path(path: Path) -> Path:
    """Return `path`, or the first numbered variant that does not exist."""
    candidate, number = path, 2
    while candidate.exists() or candidate.is_symlink():
        candidate, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return candidate


def _damage_json(damage: DamagedChunk) -> dict[str, Any]:
    """Return a damaged chunk as JSON values."""
    rows = None if damage.rows is None else int(damage.rows.sum())
    return {"chunk": damage.chunk, "file": chunk_name(damage.chunk), "reason": damage.reason, "rows": rows}


def _messages(report: dict[str, Any]) -> list[str]:
    """Return the report as lines of text."""
    lines = [f"{report['chunks']} intact chunks with {report['rows']:,} rows in {report['path']}"]
    for damage in report["damaged"]:
        lines.append(f"damaged: {damage['file']}: {damage['reason']}")
    if report["damaged"]:
        lanes = ", ".join(f"lane {lane}: {rows:,}" for lane, rows in list(report["lost_lanes"].items())[:16])
        more = ", ..." if len(report["lost_lanes"]) > 16 else ""
        count = "an unknown number of" if report["lost_rows"] is None else f"{report['lost_rows']:,}"
        lines.append(f"lost: {count} rows{f' ({lanes}{more})' if lanes else ''}")
        lines.append(
            "repaired: the damaged chunks are set aside, the rest can be read and appended to"
            if report["repaired"]
            else f"to set them aside and keep the rest: robossl stream validate --repair {report['path']}"
        )
    return lines
