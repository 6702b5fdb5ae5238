"""Partial results: what an evaluation has measured, written after each row and section, so that it can go on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, OperationError
from robossl.core.io import read_json, write_json
from robossl.evaluation.context import EvaluationContext

NAME = "partial.json"  # in the folder of an evaluation that is not finished
_PARTS = ("results", "missing", "seconds", "control_rows")  # fields of the context


def write(folder: Path, context: EvaluationContext, provenance: Mapping[str, Any]) -> None:
    """Write what `context` holds, and what decides the rest of the results; a full disk ends no evaluation."""
    parts = {name: getattr(context, name) for name in _PARTS}
    with contextlib.suppress(OperationError):
        write_json(folder / NAME, {**parts, "provenance": provenance}, checksum=True)


def read(folder: Path) -> dict[str, Any]:
    """Return the parts of `write`; empty if no part was measured.

    Raises:
        CorruptedFileError: The file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    content = read_json(path, checksum=True)
    for name in (*_PARTS, "provenance"):
        if not isinstance(content.get(name), dict):
            raise CorruptedFileError(f"{path}: expected an object in {name}, got {content.get(name)!r:.40}")
    return content


def restore(context: EvaluationContext, parts: Mapping[str, Any]) -> None:
    """Put the parts of `read` into `context`; reasons of rows that are missing are found again."""
    for name in _PARTS:
        setattr(context, name, dict(parts.get(name, {})))
    if "control" not in context.results:
        context.missing = {k: v for k, v in context.missing.items() if not k.startswith("control.")}


def remove(folder: Path) -> None:
    """Remove the file: the evaluation is finished."""
    (folder / NAME).unlink(missing_ok=True)
