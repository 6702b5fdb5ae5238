"""Metric logger: writes the scalars of a run to `metrics.jsonl` and to the sinks chosen with `--log`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from robossl.core.errors import one_line
from robossl.core.interfaces import MetricLogger
from robossl.logging.sinks.base import MetricSink, RunInfo
from robossl.logging.sinks.jsonl import JsonlSink

SinkFactory = Callable[[RunInfo], MetricSink]


class Logger:
    """Writes scalars to all sinks of a run.

    An exception in a sink never stops the run: it is reported once, listed in `failures`, and the sink is closed.
    """

    def __init__(
        self,
        run: RunInfo,
        sinks: Mapping[str, SinkFactory] | None = None,
        report: Callable[[str], None] = lambda text: None,
        offset: int = 0,
    ) -> None:
        """Open the sinks of a run.

        Args:
            run: The run to log.
            sinks: Factories of sinks beside `jsonl`, by name.
            report: Called with one line when a sink fails.
            offset: Size [bytes] to which `metrics.jsonl` is truncated, from the checkpoint of a resumed run.
        """
        self.failures: dict[str, str] = {}  # sink -> error
        self.last_step = run.first_step
        self._report, self._offset = report, offset
        self._jsonl: JsonlSink | None = None
        self._sinks: dict[str, MetricSink] = {}
        factories: dict[str, SinkFactory] = {"jsonl": self._open_jsonl(offset), **(sinks or {})}
        for name, factory in factories.items():
            try:
                self._sinks[name] = factory(run)
            except Exception as error:  # noqa: BLE001 - a sink may raise anything and must not stop the run
                self._fail(name, error)

    def _open_jsonl(self, offset: int) -> SinkFactory:
        def open_sink(run: RunInfo) -> MetricSink:
            self._jsonl = JsonlSink(run, offset)
            return self._jsonl

        return open_sink

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the values of environment step `step`."""
        record = {name: float(value) for name, value in values.items()}
        if not record:
            return
        self.last_step = max(self.last_step, step)
        for name, sink in list(self._sinks.items()):
            try:
                sink.write(int(step), record)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(name, error)

    def offset(self) -> int:
        """Return the size of `metrics.jsonl` [bytes], for a checkpoint; after a failure, the last known size."""
        if self._jsonl is not None and "jsonl" not in self.failures:
            try:
                self._offset = self._jsonl.offset()
            except OSError as error:
                self._fail("jsonl", error)
        return self._offset

    def close(self) -> None:
        """Close all sinks."""
        for name, sink in list(self._sinks.items()):
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(name, error)
        self._sinks.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, name: str, error: Exception) -> None:
        self._sinks.pop(name, None)
        self.failures[name] = f"{type(error).__name__}: {one_line(error)}"
        self._report(f"metric sink {name} failed and is closed: {self.failures[name]}")


class ScopedLogger:
    """Logger for one part of a run; it adds `first_step` to the steps and a prefix to the names.

    A leading `agent/` of a name is replaced by the prefix, so that an agent may log its metrics with it or without it.
    """

    def __init__(self, logger: MetricLogger, prefix: str, first_step: int = 0) -> None:
        self._logger, self._prefix, self._first_step = logger, prefix, first_step

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the values of environment step `step` of this part."""
        named = {f"{self._prefix}/{name.removeprefix('agent/')}": value for name, value in values.items()}
        self._logger.scalars(self._first_step + step, named)
