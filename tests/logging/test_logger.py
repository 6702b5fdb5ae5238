"""Metric logger and sinks: records, cut back, failing sinks, missing packages, TensorBoard, offline W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robossl.core.interfaces import MetricLogger, NullProgress
from robossl.logging.logger import Logger, ScopedLogger
from robossl.logging.sinks.base import RunInfo
from robossl.logging.sinks.console import ConsoleSink
from robossl.logging.sinks.jsonl import FILE_NAME, read_metrics
from robossl.logging.sinks.tensorboard import TensorBoardSink
from robossl.logging.sinks.wandb import WandbSink
from robossl.logging.throughput import ThroughputProgress


class ListLogger:
    """Keeps the records in memory."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, Any]]] = []

    def scalars(self, step: int, values: Any) -> None:
        self.records.append((step, dict(values)))


def test_every_logger_writes_metrics_jsonl(tmp_path: Path) -> None:
    with Logger(RunInfo(tmp_path)) as opened:
        logger: MetricLogger = opened
        logger.scalars(5, {"a/loss": 0.25, "a/bad": float("nan")})
        logger.scalars(7, {})
    assert read_metrics(tmp_path) == [{"step": 5, "a/loss": 0.25, "a/bad": None}]


def test_resumed_logger_cuts_the_file_back_to_the_checkpoint(tmp_path: Path) -> None:
    first = Logger(RunInfo(tmp_path))
    first.scalars(1, {"x": 1.0})
    offset = first.offset()
    first.scalars(2, {"x": 2.0})
    first.close()
    with open(tmp_path / FILE_NAME, "a") as file:
        file.write('{"step": 3, "x"')  # killed in the middle of a line
    resumed = Logger(RunInfo(tmp_path, first_step=2), offset=offset)
    resumed.scalars(2, {"x": 2.5})
    resumed.close()
    assert read_metrics(tmp_path) == [{"step": 1, "x": 1.0}, {"step": 2, "x": 2.5}]


class BrokenSink:
    """Fails at the second record."""

    def __init__(self, run: RunInfo) -> None:
        self.written = 0

    def write(self, step: int, values: Any) -> None:
        self.written += 1
        if self.written == 2:
            raise OSError("no space\nleft")

    def close(self) -> None:
        raise AssertionError("closed twice")


def test_failing_sink_is_reported_once_and_the_others_go_on(tmp_path: Path, monkeypatch) -> None:
    messages: list[str] = []
    logger = Logger(RunInfo(tmp_path), {"broken": BrokenSink}, messages.append)
    for step in range(4):
        logger.scalars(step, {"x": step})
    logger.close()
    assert messages == ["metric sink broken failed and is closed: OSError: no space left"]
    assert list(logger.failures) == ["broken"]
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1, 2, 3]


def test_sink_that_cannot_be_made_does_not_stop_the_run(tmp_path: Path, monkeypatch) -> None:
    def fail(run: RunInfo) -> None:
        raise RuntimeError("not logged in")

    with Logger(RunInfo(tmp_path), {"broken": fail}) as logger:
        logger.scalars(1, {"x": 1})
    assert logger.failures == {"broken": "RuntimeError: not logged in"}
    assert len(read_metrics(tmp_path)) == 1


def test_scope_prefixes_names_and_shifts_steps() -> None:
    logger = ListLogger()
    ScopedLogger(logger, "observation_agent", 100).scalars(5, {"agent/critic_loss": 1.0, "return": 2.0})
    assert logger.records == [(105, {"observation_agent/critic_loss": 1.0, "observation_agent/return": 2.0})]


def test_throughput_is_logged_at_fixed_steps(monkeypatch) -> None:
    monkeypatch.setattr("robossl.logging.throughput._INTERVAL", 10)
    logger = ListLogger()
    progress = ThroughputProgress(NullProgress(), logger, first_step=100)
    for _ in range(7):
        progress.update(4)
    assert [step for step, _ in logger.records] == [112, 124]
    assert all(set(values) == {"time/steps_per_second", "memory/rss_mib"} for _, values in logger.records)
    assert all(value > 0 for _, values in logger.records for value in values.values())


def test_console_sink_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Logger(RunInfo(tmp_path), {"console": ConsoleSink}) as logger:
        logger.scalars(4000, {"loss": 0.125})
    assert capsys.readouterr().err == "step 4,000: loss 0.125\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_sink_writes_events(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = Logger(RunInfo(tmp_path), {"tensorboard": TensorBoardSink})
    logger.scalars(3, {"world_model/forward": 0.5})
    logger.close()
    assert logger.failures == {}
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Scalars("world_model/forward")
    assert (event.step, event.value) == (3, 0.5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_sink_writes_an_offline_run(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for first_step in (0, 4):  # new, then resumed
        logger = Logger(RunInfo(tmp_path, {"seed": 3}, first_step), {"wandb": WandbSink})
        logger.scalars(first_step + 3, {"world_model/forward": 0.5})
        logger.close()
        assert logger.failures == {}
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert (tmp_path / "wandb-id.txt").read_text()
