"""Validation of streams: read every byte, report damaged chunks and set them aside."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError, printable, shell_path
from robossl.core.io import check_tensors, resolve_within, sync_folder, write_bytes_atomic
from robossl.core.small_files import has_correct_checksum, read_limited
from robossl.streams.schema import Schema
from robossl.streams.shards import is_shards, read_shards, shard_folder
from robossl.streams.storage.chunk_file import (
    HEAD_FILE,
    TAIL_FILE,
    Chunk,
    chunk_name,
    chunk_numbers,
    read_chunk,
    read_head,
    write_head,
)
from robossl.streams.storage.lock import WriterLock
from robossl.streams.storage.tail import read_tail
from robossl.streams.stream_header import HEADER, read_header, save_header

_MAX_MISSING = 100_000  # chunks
_MAX_CORRECTED = 1 << 14  # [bytes] of a header; every byte is tried, up to 20 s


@dataclass(frozen=True)
class DamagedChunk:
    """A chunk that cannot be used."""

    chunk: int
    reason: str
    end: np.ndarray | None = None  # (L,) rows of each lane up to the end of the gap; None if unknown
    rows: np.ndarray | None = None  # (L,) rows lost in it; None if unknown for this chunk alone


def validate_stream(path: str | Path, repair: bool = False, undo: bool = False) -> dict[str, Any]:
    """Check every file of the stream at `path`; with `repair`, set the damaged ones aside.

    A damaged header is corrected if exactly one of its bytes is wrong; else nothing is changed.

    A repaired stream opens and can be appended to. Rows before and after a lost chunk are kept, and no transition
    crosses the gap. Repair requires the writer lock.

    Example:
        robossl.streams.validate_stream("streams/reacher", repair=True)["messages"]

    Args:
        path: Folder of the stream.
        repair: Rename damaged files to `damaged-*`, list damaged chunks in the header, and count the chunks again.
        undo: Undo earlier repairs first: give all files that were set aside their names again.

    Returns:
        {"path", "ok", "repaired", "chunks", "rows", "bytes", "damaged", "lost_rows", "lost_lanes", "messages"}.
        `ok` is the state after the call. `damaged` lists {"chunk", "file", "reason", "rows"}; rows are None if
        unknown for that chunk alone. `lost_lanes` gives the lost rows by lane over all damaged chunks.
    """
    folder = Path(path)
    if is_shards(folder):
        return _validate_shards(folder, repair, undo)
    with contextlib.ExitStack() as stack:
        if repair or undo:
            if not (folder / HEADER).is_file():
                read_header(folder)  # raises: there is no stream
            stack.callback(WriterLock(folder).release)
        if undo:
            undo_repair(folder)
        repairs = correct_header(folder) if repair else []
        header = read_header(folder)
        head_damage: str | None = None
        committed, head = 0, None
        try:
            committed, head = read_head(folder, header["lanes"])
        except CorruptedFileError as error:
            head_damage = str(error)
        intact, damaged, gaps = _inspect(folder, header, committed, head)
        tail, tail_damage = _inspect_tail(folder, header, intact, damaged)
        if repair and damaged:
            _set_aside(folder, header, damaged)
        if repair and tail_damage is not None:
            aside = _free_path(folder / f"damaged-{TAIL_FILE}")
            (folder / TAIL_FILE).rename(aside)
            repairs.append(f"{TAIL_FILE} is set aside as {aside.name}")
        if repair and head_damage is not None:
            repairs.append(_write_new_head(folder, header, intact))
    lost = np.sum([gap for gap in gaps if gap is not None], axis=0, dtype=np.int64) * np.ones(
        header["lanes"], np.int64
    )
    report: dict[str, Any] = {
        "path": str(folder),
        "ok": repair or not (damaged or head_damage or tail_damage),
        "repaired": bool(repair and (damaged or repairs)),
        "chunks": len(intact),
        "rows": sum(int(chunk.rows.sum()) for chunk in [*intact, *tail]),
        "bytes": sum((folder / chunk.file_name).stat().st_size for chunk in [*intact, *tail]),
        "damaged": [_damage_json(damage) for damage in damaged],
        "lost_rows": None if any(gap is None for gap in gaps) else int(lost.sum()),
        "lost_lanes": {str(lane): int(lost[lane]) for lane in np.flatnonzero(lost)},
    }
    return report | {"messages": _messages(report, head_damage, tail_damage, repairs)}


def _validate_shards(folder: Path, repair: bool, undo: bool) -> dict[str, Any]:
    """Check every shard of a folder; lanes are counted over all of them."""
    parts, lanes = [], 0
    report: dict[str, Any] = {"path": str(folder), "ok": True, "repaired": False, "lost_lanes": {}}
    for shard in range(read_shards(folder)[0]):
        part = validate_stream(shard_folder(folder, shard), repair, undo)
        report["lost_lanes"] |= {str(int(lane) + lanes): n for lane, n in part["lost_lanes"].items()}
        lanes += read_header(shard_folder(folder, shard))["lanes"]
        parts.append(part)
    lost = [part["lost_rows"] for part in parts]
    return report | {
        "ok": all(part["ok"] for part in parts),
        "repaired": any(part["repaired"] for part in parts),
        **{name: sum(part[name] for part in parts) for name in ("chunks", "rows", "bytes")},
        **{name: [each for part in parts for each in part[name]] for name in ("damaged", "messages")},
        "lost_rows": None if None in lost else sum(lost),
    }


def _inspect_tail(
    folder: Path, header: dict[str, Any], intact: list[Chunk], damaged: list[DamagedChunk]
) -> tuple[list[Chunk], str | None]:
    """Return the tail, if its rows are not in a chunk yet, and why it cannot be used."""
    numbers = [c.number for c in intact] + [d.chunk for d in damaged]
    number = max([*numbers, *(entry["chunk"] for entry in header["lost_chunks"])], default=-1) + 1
    try:
        tail = read_tail(folder, header["id"], Schema.from_json(header), header["lanes"], number)
        if os.path.lexists(folder / TAIL_FILE):
            check_tensors(resolve_within(folder, TAIL_FILE))
    except (CorruptedFileError, UsageError) as error:
        return [], str(error)
    return [] if tail is None else [tail[0]], None


def _inspect(
    folder: Path, header: dict[str, Any], committed: int, head: np.ndarray | None
) -> tuple[list[Chunk], list[DamagedChunk], list[np.ndarray | None]]:
    """Return the intact chunks, the damaged ones, and the rows (L,) lost in each gap.

    Args:
        folder: Folder of the stream.
        header: Its header.
        committed: Number of committed chunks.
        head: (L,) committed rows; None if unknown.
    """
    schema, lanes = Schema.from_json(header), header["lanes"]
    set_aside = {entry["chunk"]: entry["rows"] for entry in header["lost_chunks"]}  # set aside earlier
    numbers = chunk_numbers(folder)
    last = max([committed - 1, *numbers, *set_aside], default=-1)
    if last + 1 - len({*numbers, *set_aside}) > _MAX_MISSING:
        raise CorruptedFileError(f"{folder} is damaged: {last + 1:,} chunks expected, got {len(numbers):,}")
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
    entries, renames = [], []
    for damage in damaged:
        source, target = folder / chunk_name(damage.chunk), None
        if os.path.lexists(source):
            target = _free_path(folder / source.name.replace("chunk-", "damaged-", 1))
            renames.append((source, target))
        rows = None if damage.end is None else damage.end.tolist()
        entries.append({"chunk": damage.chunk, "rows": rows, "file": None if target is None else target.name})
    lost = sorted([*header["lost_chunks"], *entries], key=lambda entry: entry["chunk"])
    save_header(folder, {**header, "lost_chunks": lost})
    for source, target in renames:
        source.rename(target)
    sync_folder(folder)


def undo_repair(folder: Path) -> None:
    """Give the files that earlier repairs have set aside their names again; the writer lock is required."""
    header = read_header(folder)
    for entry in header["lost_chunks"]:
        name, target = entry.get("file"), folder / chunk_name(entry["chunk"])
        if name is not None and re.fullmatch(r"damaged-[\w.-]+", name) and os.path.lexists(folder / name):
            if os.path.lexists(target):
                raise UsageError(
                    f"cannot undo the repair of {folder}: {target.name} exists; move it away first"
                )
            (folder / name).rename(target)
    aside = folder / f"damaged-{TAIL_FILE}"
    if os.path.lexists(aside) and not os.path.lexists(folder / TAIL_FILE):
        aside.rename(folder / TAIL_FILE)
    if header["lost_chunks"]:
        save_header(folder, {**header, "lost_chunks": []})
    sync_folder(folder)


def correct_header(folder: Path) -> list[str]:
    """Correct a header in which exactly one byte is wrong, as its checksum shows; return what was done, as text.

    Raises:
        CorruptedFileError: If the header is damaged in another way; then nothing is changed.
    """
    path = resolve_within(folder, HEADER)
    data = read_limited(path)
    if has_correct_checksum(data):
        return []
    corrected = _correct_byte(data)
    if corrected is None:
        raise CorruptedFileError(
            f"{path} is damaged: its checksum differs in more than one byte; no file was changed. Restore it from a "
            "copy of the stream"
        )
    aside = _free_path(path.with_name(f"damaged-{HEADER}"))
    write_bytes_atomic(aside, data)
    write_bytes_atomic(path, corrected)
    return [f"{HEADER}: one byte was wrong and is corrected; the damaged file is {aside.name}"]


def _correct_byte(data: bytes) -> bytes | None:
    """Return the text with one byte replaced so that its checksum is correct; None if there is no such byte.

    Bits are tried before bytes: most damage is one bit.
    """
    if len(data) > _MAX_CORRECTED:
        return None
    candidate = bytearray(data)
    for changes in ([1 << bit for bit in range(8)], range(1, 256)):
        for position in range(len(data)):
            for change in changes:
                candidate[position] ^= change
                if has_correct_checksum(candidate):
                    return bytes(candidate)
                candidate[position] ^= change
    return None


def _write_new_head(folder: Path, header: dict[str, Any], intact: list[Chunk]) -> str:
    """Replace a damaged `head.json` by one that counts the chunks that exist; return what was done, as text."""
    source, kept = folder / HEAD_FILE, ""
    if os.path.lexists(source):
        aside = _free_path(folder / f"damaged-{HEAD_FILE}")
        source.rename(aside)
        kept = f"; the damaged file is {aside.name}"
    lost = read_header(folder)["lost_chunks"]
    chunks = max([c.number for c in intact] + [entry["chunk"] for entry in lost], default=-1) + 1
    rows = np.zeros(header["lanes"], np.int64)
    for chunk in intact:
        rows = np.maximum(rows, chunk.start + chunk.rows)
    for entry in lost:
        rows = rows if entry["rows"] is None else np.maximum(rows, np.array(entry["rows"], np.int64))
    write_head(folder, chunks, rows)
    return f"{HEAD_FILE}: counts the {chunks} chunks that exist{kept}"


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


def _messages(
    report: dict[str, Any], head_damage: str | None, tail_damage: str | None, repairs: list[str]
) -> list[str]:
    """Return the report as lines of text."""
    lines = [f"{report['chunks']} intact chunks with {report['rows']:,} rows in {report['path']}"]
    if head_damage is not None:
        lines.append(
            f"damaged: {printable(head_damage)}: the number of rows is unknown, the last ones may be missing"
        )
    if tail_damage is not None:
        lines.append(
            f"damaged: {printable(tail_damage)}: the newest rows, of the last seconds before a crash"
        )
    for damage in report["damaged"]:
        lines.append(f"damaged: {damage['file']}: {damage['reason']}")
    if report["damaged"]:
        lanes = ", ".join(f"lane {lane}: {rows:,}" for lane, rows in list(report["lost_lanes"].items())[:16])
        more = ", ..." if len(report["lost_lanes"]) > 16 else ""
        count = "an unknown number of" if report["lost_rows"] is None else f"{report['lost_rows']:,}"
        lines.append(f"lost: {count} rows{f' ({lanes}{more})' if lanes else ''}")
    lines += [f"repaired: {text}" for text in repairs]
    if report["repaired"] and report["damaged"]:
        lines.append("repaired: the damaged chunks are set aside, the rest can be read and appended to")
        lines.append(f"to undo this: robossl stream validate --undo {shell_path(report['path'])}")
    elif not report["ok"]:
        lines.append(
            f"to set them aside and keep the rest: robossl stream validate --repair {shell_path(report['path'])}"
        )
    return lines
