"""A training of a world model in a folder: checkpoints, metrics, the written model, and its manifest."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robossl.core.errors import shell_path
from robossl.core.interfaces import ProgressReporter
from robossl.logging.logger import Logger
from robossl.logging.sinks.base import RunInfo
from robossl.training import config_io, output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.metric_sinks import load_sinks
from robossl.training.process_group import synchronize
from robossl.training.work_context import torch_threads
from robossl.training.world_model_phase import fit_heads, log_diagnostics, run_trainer
from robossl.world_model import WorldModel, WorldModelTrainer

CHECKPOINT_INTERVAL = 10.0  # [s] between checkpoints


class ModelTraining:
    """A training in a folder, with the checkpoint that it is resumed from."""

    def __init__(
        self,
        folder: Path,
        trainer: WorldModelTrainer,
        settings: dict[str, Any],
        facts: dict[str, Any],
        progress: ProgressReporter,
        origin: dict[str, Any],
        metrics_offset: int = 0,
    ) -> None:
        self.folder, self.trainer, self.settings, self.facts = folder, trainer, settings, facts
        self.progress, self.origin, self.metrics_offset = progress, origin, metrics_offset
        self.checkpoints = Checkpoints(folder / "checkpoints", progress.message)
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Write a checkpoint."""
        self.checkpoints.save(
            {
                "settings": self.settings,
                "facts": self.facts,
                "provenance": self.origin,
                "trainer": self.trainer.get_checkpoint(),
                "rows": self.trainer.stream.rows,
                "metrics_offset": self.metrics_offset,
            }
        )
        self._saved_at = time.monotonic()

    @property
    def total(self) -> int:
        """The requested updates."""
        return int(self.settings["pretrain"]["updates"])

    def open_logger(self, stack: ExitStack) -> Logger:
        """Return the logger of the metrics, which is open as long as `stack`."""
        sinks = load_sinks(self.settings["log"])
        info = RunInfo(self.folder, self.settings, self.trainer.updates)
        self._logger = stack.enter_context(Logger(info, sinks, self.progress.message, self.metrics_offset))
        return self._logger

    def save_now(self) -> None:
        """Write a checkpoint, with the metrics up to now."""
        self.metrics_offset = self._logger.offset()
        self.save()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is older than `CHECKPOINT_INTERVAL`."""
        if time.monotonic() - self._saved_at > CHECKPOINT_INTERVAL:
            self.save_now()

    def run(self) -> WorldModel:
        """Train up to the requested updates, and write the model; after Ctrl-C, the model so far."""
        trainer, progress = self.trainer, self.progress
        interruption: KeyboardInterrupt | None = None
        with ExitStack() as stack:
            stack.enter_context(torch_threads(self.origin["threads"]))
            synchronize(trainer)
            logger = self.open_logger(stack)
            progress.start("train world model", self.total, "updates")
            progress.update(trainer.updates)
            try:
                run_trainer(trainer, self.total, progress, logger, after_slice=self.save_if_due)
            except KeyboardInterrupt:
                interruption = KeyboardInterrupt(
                    f"interrupted; the model of {trainer.updates} updates is in {self.folder}; to go on: "
                    f"robossl pretrain --resume {shell_path(self.folder)}"
                )
            else:
                self.save_now()
            progress.stop()
            if trainer.group is not None:
                trainer.group.leave()
            self.write_model(finished=interruption is None)
        if interruption is not None:
            raise interruption
        self.finish()
        return trainer.ema_model

    def write_model(self, finished: bool) -> None:
        """Write the model of the updates so far; with goal heads, if it is `finished`."""
        trainer, progress = self.trainer, self.progress
        trainer.publish()
        diagnostics = trainer.diagnose()
        log_diagnostics(self._logger, trainer.updates, diagnostics)
        for text in diagnostics["messages"]:
            progress.message(text)
        if finished:
            head_updates = self.settings["goals"]["head_updates"]
            fit_heads(trainer.ema_model, trainer.stream, head_updates, self.settings["seed"], progress)
        trainer.ema_model.save(self.folder)
        self.write_manifest(self._logger.failures)

    def finish(self) -> None:
        """Keep the newest checkpoint only; the metadata of the model name the folder."""
        self.checkpoints.keep_newest()
        self.trainer.ema_model.metadata["path"] = str(self.folder)

    def write_manifest(self, failed_sinks: dict[str, str] | None = None) -> None:
        """Write the manifest: the training can be resumed from now on."""
        stream_path = os.path.realpath(self.trainer.stream.path)
        output_dirs.write_manifest(
            self.folder, "model", self.settings, env=self.facts["env"], seed=self.settings["seed"],
            updates=self.trainer.updates, stream=os.path.relpath(stream_path, os.path.realpath(self.folder)),
            stream_path=stream_path, baseline=self.facts["baseline"], failed_sinks=failed_sinks or {},
            **({"from": self.facts["from"]} if "from" in self.facts else {}),
        )  # fmt: skip


def training_provenance(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the training; the env itself does not, so it need not be installed."""
    return provenance.provenance(
        config_io.dotted_keys(settings), None, settings["threads"], settings["device"]
    )
