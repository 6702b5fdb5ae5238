"""JSON file of an agent: a header of agent and format, the seed, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json


def write_settings(path: Path, header: Mapping[str, Any], seed: int, settings: Mapping[str, Any]) -> None:
    """Write header, seed and settings to the JSON file `path`; the header has the key `format`."""
    write_json(path, {**header, "seed": seed, "settings": dict(settings)}, checksum=True)


def read_settings(path: Path, header: Mapping[str, Any], agent: str) -> tuple[int, dict[str, Any]]:
    """Return the seed and the settings that `write_settings` wrote.

    Raises:
        UsageError: The header is another one; the message names `agent` as what was expected.
        CorruptedFileError: There is no seed or there are no settings.
    """
    saved = read_json(path)
    if not isinstance(saved, dict) or any(saved.get(key) != value for key, value in header.items()):
        raise UsageError(f"{path}: expected {agent} of format {header['format']}")
    if not isinstance(saved.get("seed"), int) or not isinstance(saved.get("settings"), dict):
        raise CorruptedFileError(f"{path} is damaged: expected an integer seed and an object of settings")
    return saved["seed"], saved["settings"]
