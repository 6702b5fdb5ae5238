"""A metric sink: one CSV line for each value."""

from __future__ import annotations

from collections.abc import Mapping

from robossl.logging.sinks.base import RunInfo


class CsvSink:
    """Writes `step,name,value` lines to acme.csv of the run."""

    def __init__(self, run: RunInfo) -> None:
        self._file = open(run.folder / "acme.csv", "a", encoding="utf-8")  # noqa: SIM115 - open until `close`

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line for each value."""
        for name, value in values.items():
            self._file.write(f"{step},{name},{value}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
