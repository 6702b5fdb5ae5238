"""Pretraining: train a world model on a stream, without reward, and write it to a folder.

The folder has a checkpoint of the trainer, from which an interrupted training is resumed and a finished one extended.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import nn

from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.streams import Stream
from robossl.training import output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import head_update_count
from robossl.training.config_io import to_dict
from robossl.training.extension import Steps, new_total
from robossl.training.metric_sinks import load_sinks
from robossl.training.model_training import ModelTraining, training_provenance
from robossl.training.process_group import follow, threads_of
from robossl.training.requests import PretrainRequest
from robossl.training.world_model_phase import few_episodes_warning
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer, data_validation
from robossl.world_model.baselines import baseline_config
from robossl.world_model.config import default_config_for
from robossl.world_model.data_parallel import ProcessGroup, process_count


def pretrain_world_model(request: PretrainRequest, progress: ProgressReporter) -> WorldModel:
    """Train a world model as requested; its folder is in `metadata["path"]`.

    `metrics.jsonl` has gradient steps on its axis: no environment step is taken.

    Raises:
        KeyboardInterrupt: Training was interrupted; the model of the gradient steps so far is written.
    """
    stream, group = open_stream(request), None
    if process_count() > 1:
        group = ProcessGroup(request.device)
        request = dataclasses.replace(request, threads=threads_of(group, request.threads))
        if group.rank > 0:
            model = _initial_model(request, stream)
            return follow(
                WorldModelTrainer(model, stream, request.seed, device=request.device, group=group),
                request.updates,
                request.threads,
            )
    with output_dirs.output_dir(request.out, f"models/{output_dirs.slug(env_of(stream))}") as folder:
        training = new_training(request, stream, folder, progress, group)
        if warning := few_episodes_warning(stream):
            progress.message(warning)
        return training.run()


def open_stream(request: PretrainRequest) -> Stream:
    """Return the stream of a request."""
    return request.stream if isinstance(request.stream, Stream) else Stream.open(request.stream)


def env_of(stream: Stream) -> str:
    """Return the env that a stream was recorded in."""
    return str(output_dirs.recorded_env(stream.path) or stream.header["env"])


def new_training(
    request: PretrainRequest,
    stream: Stream,
    folder: Path,
    progress: ProgressReporter,
    group: ProcessGroup | None = None,
) -> ModelTraining:
    """Begin a training in a new folder, and write its first checkpoint and its manifest."""
    load_sinks(request.log)  # raises for an unknown name before any work
    model = _initial_model(request, stream)
    settings: dict[str, Any] = {
        "seed": request.seed, "device": request.device, "threads": request.threads, "log": list(request.log),
        "pretrain": {"updates": request.updates},
        "goals": {"head_updates": head_update_count(request.head_updates, request.updates)},
        "world_model": to_dict(model.config),
    }  # fmt: skip
    trainer = WorldModelTrainer(model, stream, request.seed, device=request.device, group=group)
    facts: dict[str, Any] = {
        "env": env_of(stream),
        "baseline": request.baseline,
        "head_updates": request.head_updates,
    }
    facts["config"] = model.config.to_json()
    if request.from_model is not None:
        facts["from"] = str(Path(request.from_model).resolve())
    training = ModelTraining(folder, trainer, settings, facts, progress, training_provenance(settings))
    training.save()
    training.write_manifest()
    return training


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
    output_dirs.read_manifest(folder, "model")
    if process_count() == 1:
        with output_dirs.lock(folder):
            return load_training(Path(folder), progress, updates, accept_changes, encoder).run()
    saved = Checkpoints(Path(folder) / "checkpoints").latest() or {}
    group = ProcessGroup(saved.get("settings", {}).get("device", "auto"))
    if group.rank > 0:
        training = load_training(
            Path(folder), NullProgress(), updates, accept_changes, encoder, group, writes=False
        )
        group.wait()  # rank 0 writes after all have read
        return follow(training.trainer, training.total, training.origin["threads"])
    with output_dirs.lock(folder):
        training = load_training(
            Path(folder), progress, updates, accept_changes, encoder, group, writes=False
        )
        group.wait()
        training.save()
        return training.run()


def load_training(
    folder: Path,
    progress: ProgressReporter,
    updates: Steps | None = None,
    accept_changes: bool = False,
    encoder: nn.Module | None = None,
    group: ProcessGroup | None = None,
    writes: bool = True,
) -> ModelTraining:
    """Return the training of a folder from its newest checkpoint; arguments and errors of `resume_pretraining`.

    With `writes` the checkpoint is written again, with the new total of updates.
    """
    manifest = output_dirs.read_manifest(folder, "model")
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
    now = training_provenance(settings)
    before = {**saved["provenance"], "config": {"rows of the stream": saved["rows"]}}
    found = {**now, "config": {"rows of the stream": stream.rows}}
    command = f"robossl pretrain --resume {shell_path(folder)}"
    for line in provenance.check_changes(before, found, command, accept_changes):
        progress.message(f"{folder} {line}")
    now = provenance.resumed(before, now)
    config = WorldModelConfig.from_json(facts["config"])
    seed = settings["seed"]
    model = WorldModel(config, stream.observation_space, stream.action_space, seed, encoder)
    trainer = WorldModelTrainer(model, stream, seed, device=settings["device"], group=group)
    trainer.set_checkpoint(saved["trainer"])
    training = ModelTraining(folder, trainer, settings, facts, progress, now, int(saved["metrics_offset"]))
    if writes:
        training.save()
    return training


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
