"""Header of a stream, `stream.json`: format, spaces, fields and metadata."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json
from robossl.streams.schema import FORMAT, Schema

HEADER = "stream.json"
_PACKAGES = ("robossl", "numpy", "gymnasium", "mujoco", "torch")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that determine the recorded data; missing ones are omitted."""
    package_versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            package_versions[package] = package_metadata.version(package)
        except package_metadata.PackageNotFoundError:
            continue
    return package_versions


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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder}: {error.strerror}") from error
    write_json(folder / HEADER, header)
    return header


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
    if not (folder / HEADER).is_file():
        raise UsageError(f"no stream in {folder}; expected a folder with {HEADER}")
    header = read_json(folder / HEADER)
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise CorruptedFileError(f"{folder / HEADER} does not describe a stream")
    if header["format"] != FORMAT:
        raise UsageError(
            f"expected stream format {FORMAT}, got {header['format']} in {folder}; "
            "use the robossl version that wrote it"
        )
    if (
        not isinstance(header.get("lanes"), int)
        or header["lanes"] < 1
        or not isinstance(header.get("id"), str)
    ):
        raise CorruptedFileError(f"{folder / HEADER} has no valid lanes or id")
    if not isinstance(header.get("lost_chunks"), list):
        raise CorruptedFileError(f"{folder / HEADER} has no valid list of lost chunks")
    return header
