"""Pretraining: train a world model on a stream, without reward, and write it to a folder.

The folder has a checkpoint of the trainer, from which an interrupted training is resumed and a finished one extended.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import ProgressReporter
from robossl.logging.logger import Logger
from robossl.logging.sinks.base import RunInfo
from robossl.streams import Stream
from robossl.training import config_io, output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import head_update_count
from robossl.training.config_io import to_dict
from robossl.training.extension import Steps, new_total
from robossl.training.metric_sinks import load_sinks
from robossl.training.requests import PretrainRequest
from robossl.training.work_context import torch_threads
from robossl.training.world_model_phase import few_episodes_warning, fit_heads, log_diagnostics, run_trainer
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer, data_validation
from robossl.world_model.baselines import baseline_config
from robossl.world_model.config import default_config_for

CHECKPOINT_INTERVAL = 10.0  # [s] between checkpoints


def pretrain_world_model(request: PretrainRequest, progress: ProgressReporter) -> WorldModel:
    """Train a world model as requested; its folder is in `metadata["path"]`.

    `metrics.jsonl` has gradient steps on its axis: no environment step is taken.

    Raises:
        KeyboardInterrupt: Training was interrupted; the model of the gradient steps so far is written.
    """
    load_sinks(request.log)  # raises for an unknown name before any work
    stream = request.stream if isinstance(request.stream, Stream) else Stream.open(request.stream)
    model = _initial_model(request, stream)
    env = output_dirs.recorded_env(stream.path) or stream.header["env"]
    if warning := few_episodes_warning(stream):
        progress.message(warning)
    settings: dict[str, Any] = {
        "seed": request.seed, "device": request.device, "threads": request.threads, "log": list(request.log),
        "pretrain": {"updates": request.updates},
        "goals": {"head_updates": head_update_count(request.head_updates, request.updates)},
        "world_model": to_dict(model.config),
    }  # fmt: skip
    trainer = WorldModelTrainer(model, stream, request.seed, device=request.device)
    with output_dirs.output_dir(request.out, f"models/{output_dirs.slug(env)}") as folder:
        facts = {"env": env, "baseline": request.baseline, "head_updates": request.head_updates}
        facts["config"] = model.config.to_json()
        if request.from_model is not None:
            facts["from"] = str(Path(request.from_model).resolve())
        training = _Training(folder, trainer, settings, facts, progress, _provenance(settings))
        training.save()
        training.write_manifest()
        return training.run()


def resume_pretraining(
    folder: str | Path,
    progress: ProgressReporter,
    updates: Steps | None = None,
    accept_changes: bool = False,
    encoder: nn.Module | None = None,
) -> WorldModel:
    """Finish an interrupted training, or extend one; both give the model of an uninterrupted one.

    Args:
        folder: Folder of the model.
        progress: Receives the gradient steps.
        updates: New total of gradient steps, or "+N" for N more; None: as many as were requested.
        accept_changes: Go on although what decides the result has changed.
        encoder: The custom encoder of the model, if it has one.

    Raises:
        UsageError: The folder has no checkpoint, these updates are done already, or stream or versions have changed.
    """
    folder = Path(folder)
    manifest = output_dirs.read_manifest(folder, "model")
    with output_dirs.lock(folder):
        saved = (
            Checkpoints(folder / "checkpoints", progress.message).latest()
            if Checkpoints.exist(folder / "checkpoints")
            else None
        )
        if saved is None:
            raise UsageError(
                f"{folder}: expected a model that `robossl pretrain` trained, got one without checkpoints; to train a "
                f"new model from its weights: robossl pretrain STREAM --from {folder}"
            )
        settings, facts = saved["settings"], saved["facts"]
        if (path := output_dirs.training_stream_of(folder)) is None:
            raise UsageError(f"{folder}: expected its stream, got no folder {manifest.get('stream_path')}")
        stream = Stream.open(path)
        done, requested = int(saved["trainer"]["updates"]), settings["pretrain"]["updates"]
        total = new_total(requested, updates, "updates")
        if updates is not None and total <= done:
            raise UsageError(
                f"updates: expected more than the {done:,} gradient steps that {folder} has, or +N for N more, got "
                f"{updates}"
            )
        settings["pretrain"]["updates"] = total
        settings["goals"]["head_updates"] = head_update_count(facts["head_updates"], total)
        now = _provenance(settings)
        before = {**saved["provenance"], "config": {"rows of the stream": saved["rows"]}}
        found = {**now, "config": {"rows of the stream": stream.rows}}
        command = f"robossl pretrain --resume {shell_path(folder)}"
        for line in provenance.check_changes(before, found, command, accept_changes):
            progress.message(f"{folder} {line}")
        now = provenance.resumed(before, now)
        config = WorldModelConfig.from_json(facts["config"])
        seed = settings["seed"]
        model = WorldModel(config, stream.observation_space, stream.action_space, seed, encoder)
        trainer = WorldModelTrainer(model, stream, seed, device=settings["device"])
        trainer.set_checkpoint(saved["trainer"])
        training = _Training(folder, trainer, settings, facts, progress, now, int(saved["metrics_offset"]))
        training.save()
        return training.run()


def _initial_model(request: PretrainRequest, stream: Stream) -> WorldModel:
    """Return the model to train: a new one, or the weights of another one."""
    spaces = stream.observation_space, stream.action_space
    if request.from_model is not None:
        model = WorldModel.load(request.from_model, "cpu", request.encoder)
        data_validation.check_spaces_match(model, *spaces, f"the stream {stream.path}")
        model.goal_heads = None
        return model
    config = request.config or default_config_for(stream.observation_space)
    if request.baseline is not None:
        config = baseline_config(request.baseline, config, stream.observation_space)
    return WorldModel(config, *spaces, request.seed, request.encoder)


def _provenance(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the training; the env itself does not, so it need not be installed."""
    return provenance.provenance(
        config_io.dotted_keys(settings), None, settings["threads"], settings["device"]
    )


class _Training:
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

    def run(self) -> WorldModel:
        """Train up to the requested updates, and write the model; after Ctrl-C, the model so far."""
        trainer, progress, settings = self.trainer, self.progress, self.settings
        total, head_updates = settings["pretrain"]["updates"], settings["goals"]["head_updates"]
        interruption: KeyboardInterrupt | None = None
        with ExitStack() as stack:
            stack.enter_context(torch_threads(self.origin["threads"]))
            sinks = load_sinks(settings["log"])
            info = RunInfo(self.folder, settings, trainer.updates)
            logger = stack.enter_context(Logger(info, sinks, progress.message, self.metrics_offset))

            def save() -> None:
                self.metrics_offset = logger.offset()
                self.save()

            def save_if_due() -> None:
                if time.monotonic() - self._saved_at > CHECKPOINT_INTERVAL:
                    save()

            progress.start("train world model", total, "updates")
            progress.update(trainer.updates)
            try:
                run_trainer(trainer, total, progress, logger, after_slice=save_if_due)
            except KeyboardInterrupt:
                interruption = KeyboardInterrupt(
                    f"interrupted; the model of {trainer.updates} updates is in {self.folder}; to go on: "
                    f"robossl pretrain --resume {shell_path(self.folder)}"
                )
            else:
                save()
            progress.stop()
            trainer.publish()
            diagnostics = trainer.diagnose()
            log_diagnostics(logger, trainer.updates, diagnostics)
            for text in diagnostics["messages"]:
                progress.message(text)
            if interruption is None:
                fit_heads(trainer.ema_model, trainer.stream, head_updates, settings["seed"], progress)
            trainer.ema_model.save(self.folder)
            self.write_manifest(logger.failures)
        if interruption is not None:
            raise interruption
        self.checkpoints.keep_newest()
        trainer.ema_model.metadata["path"] = str(self.folder)
        return trainer.ema_model

    def write_manifest(self, failed_sinks: dict[str, str] | None = None) -> None:
        """Write the manifest: the training can be resumed from now on."""
        stream_path = os.path.realpath(self.trainer.stream.path)
        output_dirs.write_manifest(
            self.folder, "model", self.settings, env=self.facts["env"], seed=self.settings["seed"],
            updates=self.trainer.updates, stream=os.path.relpath(stream_path, os.path.realpath(self.folder)),
            stream_path=stream_path, baseline=self.facts["baseline"], failed_sinks=failed_sinks or {},
            **({"from": self.facts["from"]} if "from" in self.facts else {}),
        )  # fmt: skip
