"""Header of a stream, `stream.json`: format, spaces, fields and metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core import system_info
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, resolve_within, write_json
from robossl.core.small_files import checked, checked_ints, encode_json, parse_json
from robossl.streams.schema import FORMAT, Schema
from robossl.streams.storage.chunk_file import MAX_CHUNKS, write_head

HEADER = "stream.json"
_MAX_LANES = 1 << 20
_OPTIONAL = {
    "env": str,
    "robot": str,
    "split_id": str,  # decides the splits in place of the id: a relabeled stream has those of its source
    "policy": str,
    "seed": int,
    "backend": str,
    "env_kwargs": dict,
    "versions": dict,
    "step_source": str,
}
_DECISIVE = ("python", "robossl", "numpy", "gymnasium", "mujoco", "torch")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that determine the recorded data; missing ones are omitted."""
    return {name: version for name, version in system_info.versions().items() if name in _DECISIVE}


def write_header(folder: Path, schema: Schema, lanes: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """Create the folder of a stream and write its header. Existing files are never overwritten.

    Args:
        folder: New or empty folder.
        schema: Fields of the stream.
        lanes: Number of lanes.
        metadata: Further entries of the header.

    Returns:
        The header.
    """
    if (folder / HEADER).exists():
        raise UsageError(f"{folder} already contains a stream; choose another path, or open it to append")
    # an output folder is locked before anything is written in it
    if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - {"run.lock"}):
        raise UsageError(f"{folder} is not empty; choose a new folder for the stream")
    schema_json = schema.to_json()
    identity = {name: metadata.get(name) for name in ("env", "seed", "policy", "randomization")}
    digest = hashlib.blake2b(
        json.dumps([schema_json, lanes, identity], sort_keys=True).encode(), digest_size=8
    )
    header = {
        "format": FORMAT,
        "id": digest.hexdigest(),  # the same schema and metadata give the same id, and so the same splits
        "lanes": lanes,
        "versions": versions(),
        **metadata,
        **schema_json,
        "lost_chunks": [],  # set aside by `robossl stream validate --repair`
    }
    try:  # what cannot be read again must not be written
        Schema.from_json(parse_json(encode_json(header), "the header"))
    except CorruptedFileError as error:
        raise UsageError(f"{metadata.get('env') or 'the env'} cannot be recorded: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder}: {error.strerror}") from error
    save_header(folder, header)
    write_head(folder, 0, np.zeros(lanes, np.int64))
    return header


def save_header(folder: Path, header: dict[str, Any]) -> None:
    """Write a header with its checksum."""
    write_json(folder / HEADER, header, checksum=True)


def header_metadata(header: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a header that `Stream.create` received as metadata."""
    reserved = {
        "format",
        "id",
        "lanes",
        "versions",
        "observation_space",
        "action_space",
        "fields",
        "lost_chunks",
    }
    return {name: value for name, value in header.items() if name not in reserved}


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of the stream in `folder`.

    Raises:
        UsageError: If there is no stream, or its format is not supported.
        CorruptedFileError: If the header is malformed.
    """
    if not os.path.lexists(folder / HEADER):
        raise UsageError(f"no stream in {folder}; expected a folder with {HEADER}")
    path = resolve_within(folder, HEADER)
    header = read_json(path)
    if checked(header, "format", int, path) != FORMAT:
        raise UsageError(
            f"expected stream format {FORMAT}, got {header['format']} in {path}; "
            "use the robossl version that wrote it"
        )
    read_json(path, checksum=True)
    lanes = checked(header, "lanes", int, path, 1, _MAX_LANES)
    if not re.fullmatch(r"[0-9a-f]{16}", checked(header, "id", str, path)):
        raise CorruptedFileError(
            f"{path} is damaged: id: expected 16 hexadecimal digits, got {header['id']!r:.100}"
        )
    for name, kind in _OPTIONAL.items():
        checked({name: header.get(name)}, name, (kind, type(None)), path)
    if header.get("lane_groups") is not None:
        groups = checked_ints(header, "lane_groups", path)
        if min(groups, default=0) < 1 or sum(groups) != lanes:
            raise CorruptedFileError(
                f"{path} is damaged: lane_groups: expected {lanes} lanes, got {groups!r:.100}"
            )
    numbers = set()
    for entry in checked(header, "lost_chunks", list, path):
        numbers.add(checked(entry, "chunk", int, path, 0, MAX_CHUNKS))
        checked({"file": entry.get("file")}, "file", (str, type(None)), path)
        if checked(entry, "rows", (list, type(None)), path) is not None:
            checked_ints(entry, "rows", path, lanes)
    if len(numbers) < len(header["lost_chunks"]):
        raise CorruptedFileError(f"{path} is damaged: lost_chunks: a chunk occurs twice")
    return header
