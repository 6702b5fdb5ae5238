"""Is a stream whole? Reads every byte, names what is damaged, and can set it aside."""

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
class Damage:
    """A chunk that cannot be used."""

    chunk: int
    reason: str
    end: np.ndarray | None = None  # (L,) rows of each lane up to the end of the gap; None where nobody knows
    rows: np.ndarray | None = None  # (L,) rows lost in it; None where nobody knows how many were in it alone


def validate_stream(path: str | Path, repair: bool = False) -> dict[str, Any]:
    """Check every chunk of the stream at `path`; with `repair`, set the damaged ones aside.

    Returns {"path", "ok", "repaired", "chunks", "rows", "bytes", "damaged", "lost_rows", "lost_lanes",
    "words"}. `damaged` lists {"chunk", "file", "reason", "rows"}, the rows None where nobody knows how many
    were in that chunk alone; `lost_lanes` says how many rows of which lanes all damaged chunks take with
    them. `ok` is said of the stream as it is now: a repaired one opens and can be appended to, what lies
    before and after a lost chunk is kept, and no transition crosses the gap. Repairing needs the right to
    write, like any writer.
    """
    folder = Path(path)
    with contextlib.ExitStack() as stack:
        if repair:
            read_header(folder)  # says so where there is no stream
            stack.callback(WriterLock(folder).release)
        header = read_header(folder)
        whole, damaged, gaps = _inspect(folder, header)
        if repair and damaged:
            _set_aside(folder, header, damaged)
    lost = np.sum([gap for gap in gaps if gap is not None], axis=0, dtype=np.int64) * np.ones(
        header["lanes"], np.int64
    )
    found: dict[str, Any] = {
        "path": str(folder),
        "ok": repair or not damaged,
        "repaired": bool(repair and damaged),
        "chunks": len(whole),
        "rows": sum(int(chunk.rows.sum()) for chunk in whole),
        "bytes": sum((folder / chunk_name(chunk.number)).stat().st_size for chunk in whole),
        "damaged": [_row(damage) for damage in damaged],
        "lost_rows": None if any(gap is None for gap in gaps) else int(lost.sum()),
        "lost_lanes": {str(lane): int(lost[lane]) for lane in np.flatnonzero(lost)},
    }
    return found | {"words": _words(found)}


def _inspect(
    folder: Path, header: dict[str, Any]
) -> tuple[list[Chunk], list[Damage], list[np.ndarray | None]]:
    """The chunks that are whole, those that are not, and the rows (L,) lost in each gap."""
    schema, lanes = Schema.from_json(header), header["lanes"]
    known = {entry["chunk"]: entry["rows"] for entry in header["lost"]}  # given up earlier
    committed, head = read_head(folder, lanes)
    last = max([committed - 1, *chunk_numbers(folder), *known], default=-1)
    whole: list[Chunk] = []
    damaged: list[Damage] = []
    gaps: list[np.ndarray | None] = []
    run: list[Damage] = []  # damaged chunks next to each other
    position = np.zeros(lanes, np.int64)  # (L,) where the last whole chunk ended
    unsure = False  # rows that nobody counted were given up since

    def close(end: np.ndarray | None) -> None:
        if run:
            rows = None if end is None else end - position
            gaps.append(rows)
            damaged.extend(Damage(d.chunk, d.reason, end, rows if len(run) == 1 else None) for d in run)
            run.clear()

    for number in range(last + 1):
        if number in known:
            close(None)
            unsure = known[number] is None
            position = position if unsure else np.array(known[number], np.int64)
            continue
        try:
            chunk, arrays = read_chunk(folder, header["id"], schema, lanes, number)
            check_tensors(resolve_within(folder, chunk_name(number)))
            if (arrays["valid"] & arrays["is_last"]).any():
                raise CorruptedFileError(f"{chunk_name(number)} holds last rows that are valid")
            if (chunk.start < position).any() or not (run or unsure or np.array_equal(chunk.start, position)):
                raise CorruptedFileError(f"{chunk_name(number)} does not begin where the rows before it end")
        except (CorruptedFileError, UsageError) as error:
            run.append(Damage(number, str(error)))
            continue
        close(chunk.start)
        position, unsure = chunk.start + chunk.rows, False
        whole.append(chunk)
    close(head if committed == last + 1 else None)
    return whole, damaged, gaps


def _set_aside(folder: Path, header: dict[str, Any], damaged: list[Damage]) -> None:
    """Give the damaged chunks up in the header, then rename their files."""
    entries = [{"chunk": d.chunk, "rows": None if d.end is None else d.end.tolist()} for d in damaged]
    lost = sorted([*header["lost"], *entries], key=lambda entry: entry["chunk"])
    write_json(folder / HEADER, {**header, "lost": lost})
    for damage in damaged:
        source = folder / chunk_name(damage.chunk)
        if source.exists() or source.is_symlink():
            source.rename(_free(folder / source.name.replace("chunk-", "damaged-", 1)))
    sync_folder(folder)


def _free(path: Path) -> Path:
    """This path, or the first of its kind that nothing has."""
    candidate, number = path, 2
    while candidate.exists() or candidate.is_symlink():
        candidate, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return candidate


def _row(damage: Damage) -> dict[str, Any]:
    """A damage as plain JSON."""
    rows = None if damage.rows is None else int(damage.rows.sum())
    return {"chunk": damage.chunk, "file": chunk_name(damage.chunk), "reason": damage.reason, "rows": rows}


def _words(found: dict[str, Any]) -> list[str]:
    """What people read."""
    lines = [f"{found['chunks']} whole chunks with {found['rows']:,} rows in {found['path']}"]
    for damage in found["damaged"]:
        lines.append(f"damaged: {damage['file']}: {damage['reason']}")
    if found["damaged"]:
        lanes = ", ".join(f"lane {lane}: {rows:,}" for lane, rows in list(found["lost_lanes"].items())[:16])
        more = ", ..." if len(found["lost_lanes"]) > 16 else ""
        count = "an unknown number of" if found["lost_rows"] is None else f"{found['lost_rows']:,}"
        lines.append(f"lost: {count} rows{f' ({lanes}{more})' if lanes else ''}")
        lines.append(
            "repaired: the damaged chunks are set aside, everything else can be read and appended to"
            if found["repaired"]
            else f"to set them aside and keep the rest: robossl stream validate --repair {found['path']}"
        )
    return lines
