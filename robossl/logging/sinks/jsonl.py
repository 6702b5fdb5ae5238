"""Metric sink `jsonl`: one JSON object in each line of `metrics.jsonl`; every run has this sink."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from robossl.core.errors import CorruptedFileError
from robossl.core.small_files import open_regular, parse_json
from robossl.logging.sinks.base import RunInfo

FILE_NAME = "metrics.jsonl"


class JsonlSink:
    """Appends lines `{"step": 4000, "world_model/forward": 0.12}`; values that are not finite become null."""

    packages = ()

    def __init__(self, run: RunInfo, offset: int = 0) -> None:
        """Open the file of a run and truncate it to `offset` bytes."""
        path = run.folder / FILE_NAME
        if path.exists() and path.stat().st_size > offset:
            os.truncate(path, offset)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open until `close`

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line."""
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **record}) + "\n")
        self._file.flush()

    def offset(self) -> int:
        """Return the size of the file [bytes] after all records are written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(folder: str | Path) -> list[dict[str, float | None]]:
    """Return the records of the metrics file in a folder, oldest first; without a last line that is not complete.

    Raises:
        CorruptedFileError: A line is not a JSON object.
    """
    path = Path(folder) / FILE_NAME
    records = []
    with open_regular(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):  # of a process that was killed
                break
            record = parse_json(line, f"{path}, line {number},")
            if not isinstance(record, dict):
                raise CorruptedFileError(
                    f"{path}, line {number}, is damaged: expected an object, got {record!r:.80}"
                )
            records.append(record)
    return records


SINKS = {"jsonl": JsonlSink}
