"""Pretraining: train a world model on a stream, without reward, and write it to a folder."""

from __future__ import annotations

import os

from robossl.core.interfaces import ProgressReporter
from robossl.logging.logger import Logger
from robossl.logging.sinks.base import RunInfo
from robossl.streams import Stream
from robossl.training import output_dirs
from robossl.training.config import head_update_count
from robossl.training.config_io import to_dict
from robossl.training.metric_sinks import load_sinks
from robossl.training.requests import PretrainRequest
from robossl.training.work_context import torch_threads
from robossl.training.world_model_phase import few_episodes_warning, fit_heads, log_diagnostics, run_trainer
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.baselines import baseline_config
from robossl.world_model.config import default_config_for


def pretrain_world_model(request: PretrainRequest, progress: ProgressReporter) -> WorldModel:
    """Train a world model as requested; its folder is in `metadata["path"]`.

    `metrics.jsonl` has gradient steps on its axis: no environment step is taken.

    Raises:
        KeyboardInterrupt: Training was interrupted; the model of the gradient steps so far is written.
    """
    sinks = load_sinks(request.log)
    stream = request.stream if isinstance(request.stream, Stream) else Stream.open(request.stream)
    config = request.config or default_config_for(stream.observation_space)
    if request.baseline is not None:
        config = baseline_config(request.baseline, config, stream.observation_space)
    model = WorldModel(config, stream.observation_space, stream.action_space, request.seed, request.encoder)
    trainer = WorldModelTrainer(model, stream, request.seed, device=request.device)
    env = output_dirs.recorded_env(stream.path) or stream.header["env"]
    if warning := few_episodes_warning(stream):
        progress.message(warning)
    head_updates = head_update_count(request.head_updates, request.updates)
    settings = {
        "seed": request.seed, "device": request.device, "threads": request.threads, "log": list(request.log),
        "pretrain": {"updates": request.updates}, "goals": {"head_updates": head_updates},
        "world_model": to_dict(config),
    }  # fmt: skip
    interruption: KeyboardInterrupt | None = None
    with (
        output_dirs.output_dir(request.out, f"models/{output_dirs.slug(env)}") as folder,
        torch_threads(request.threads),
        Logger(RunInfo(folder, settings), sinks, progress.message) as logger,
    ):
        progress.start("train world model", request.updates, "updates")
        try:
            run_trainer(trainer, request.updates, progress, logger)
        except KeyboardInterrupt:
            interruption = KeyboardInterrupt(
                f"interrupted; the model of {trainer.updates} updates is in {folder}"
            )
        progress.stop()
        trainer.publish()
        diagnostics = trainer.diagnose()
        log_diagnostics(logger, trainer.updates, diagnostics)
        for text in diagnostics["messages"]:
            progress.message(text)
        if interruption is None:
            fit_heads(trainer.ema_model, stream, head_updates, request.seed, progress)
        trainer.ema_model.save(folder)
        stream_path = os.path.realpath(stream.path)
        output_dirs.write_manifest(
            folder, "model", settings, env=env, seed=request.seed, updates=trainer.updates,
            stream=os.path.relpath(stream_path, os.path.realpath(folder)), stream_path=stream_path,
            baseline=request.baseline, failed_sinks=logger.failures,
        )  # fmt: skip
    if interruption is not None:
        raise interruption
    trainer.ema_model.metadata["path"] = str(folder)
    return trainer.ema_model
