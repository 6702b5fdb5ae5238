"""The header of a stream, `stream.json`: where its rows come from and what they are."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json
from robossl.streams.schema import FORMAT, Schema

HEADER = "stream.json"
_PACKAGES = ("robossl", "numpy", "gymnasium", "mujoco", "torch")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what is recorded; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_header(folder: Path, schema: Schema, lanes: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Begin a stream in `folder`; refuses to write over anything. Returns the header."""
    if (folder / HEADER).exists():
        raise UsageError(f"{folder} already holds a stream; give another path, or open it to append")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty; a stream begins in a folder of its own")
    described = schema.to_json()
    origin = {name: facts.get(name) for name in ("env", "seed", "policy", "randomization")}
    digest = hashlib.blake2b(json.dumps([described, lanes, origin], sort_keys=True).encode(), digest_size=8)
    header = {
        "format": FORMAT,
        "id": digest.hexdigest(),  # the same request makes the same stream, splits included
        "lanes": lanes,
        "versions": versions(),
        **facts,
        **described,
        "lost": [],  # chunks that `robossl stream validate --repair` gave up
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    write_json(folder / HEADER, header)
    return header


def facts_of(header: dict[str, Any]) -> dict[str, Any]:
    """What was said of a stream when it began, without what the stream itself is."""
    own = {"format", "id", "lanes", "versions", "observation_space", "action_space", "fields", "lost"}
    return {name: value for name, value in header.items() if name not in own}


def read_header(folder: Path) -> dict[str, Any]:
    """The header of the stream in `folder`; `RequestError` where there is none or a later format."""
    if not (folder / HEADER).is_file():
        raise UsageError(f"no stream in {folder}; expected a folder with {HEADER}")
    header = read_json(folder / HEADER)
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise CorruptedFileError(f"{folder / HEADER} does not describe a stream")
    if header["format"] > FORMAT:
        raise UsageError(
            f"{folder} has stream format {header['format']}; this robossl reads formats up to {FORMAT}: "
            "use a later robossl"
        )
    if (
        not isinstance(header.get("lanes"), int)
        or header["lanes"] < 1
        or not isinstance(header.get("id"), str)
    ):
        raise CorruptedFileError(f"{folder / HEADER} names no lanes or no id")
    if not isinstance(header.setdefault("lost", []), list):
        raise CorruptedFileError(f"{folder / HEADER} says something unreadable about lost chunks")
    return header
