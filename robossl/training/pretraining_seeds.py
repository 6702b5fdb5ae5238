"""Pretraining with several seeds at once: a folder with a model for each seed, and one report over them.

FOLDER/manifest.json    kind "seeds", work "pretrain", the seeds, and what the models have in common
FOLDER/seed-0           the model folder of seed 0, and so on, with a report of its world model
FOLDER/report.json      medians over the seeds, with report.html and tables/
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robossl.core import interrupts
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.limits import check_seeds
from robossl.core.small_files import as_path
from robossl.core.system_info import system_info
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.model_metrics import evaluate_world_model
from robossl.evaluation.report import report_file
from robossl.evaluation.results import EvaluationReport
from robossl.logging.logger import Logger
from robossl.streams import Stream
from robossl.training import output_dirs, world_model_phase
from robossl.training.config import head_update_count, thread_count
from robossl.training.extension import Steps, new_total
from robossl.training.model_training import ModelTraining
from robossl.training.pretraining import env_of, load_training, new_training, open_stream
from robossl.training.report_pages import SEEDS
from robossl.training.requests import PretrainRequest
from robossl.training.seed_runs import write_seeds_report
from robossl.training.work_context import torch_threads
from robossl.training.world_model_phase import few_episodes_warning, log_training
from robossl.world_model import WorldModelConfig
from robossl.world_model.data_parallel import process_count
from robossl.world_model.device import resolve
from robossl.world_model.parallel_trainers import TrainerGroup, group_trainers

WORK = "pretrain"  # of a folder of seeds
_COMMON = ("updates", "device", "threads", "head_updates", "baseline", "from_model")  # settings of all models


def is_pretraining_seeds(folder: str | Path) -> bool:
    """Return whether a folder has a world model for each seed."""
    manifest = output_dirs.manifest_of(folder)
    return manifest.get("kind") == SEEDS and manifest.get("work") == WORK


def pretrain_seeds(
    request: PretrainRequest, seeds: Sequence[int], progress: ProgressReporter
) -> EvaluationReport:
    """Train a world model with each seed at once, and report over all of them.

    On a CPU each model has one thread, and the bits of one that is trained alone with one thread; on a GPU the models
    are stacked. After any end the same call with the same folder goes on; more seeds may be added.

    Args:
        request: What to train; its seed is replaced, and `out` may be a folder with models of the same settings.
        seeds: Seeds, each once.
        progress: Receives the progress.

    Returns:
        The report over the seeds, with its folder under "folder".

    Raises:
        UsageError: A seed is given twice, or the folder has models of other settings.
        KeyboardInterrupt: Interrupted; the models of the gradient steps so far are written.
    """
    chosen = check_seeds(seeds)
    if request.encoder is not None:
        raise UsageError("seeds: expected the built-in encoder, got a custom one; train each seed by itself")
    if process_count() > 1:
        raise UsageError("torchrun: expected one seed, got several; start one training for each GPU instead")
    stream = open_stream(request)
    default = f"models/{output_dirs.slug(env_of(stream))}-seeds"
    folder = output_dirs.free_path(default) if request.out is None else as_path(request.out, "a folder")
    found = _common(request)
    if is_pretraining_seeds(folder):
        manifest = output_dirs.read_manifest(folder, SEEDS)
        for name, value in found.items():
            if manifest.get(name) != value:
                raise UsageError(
                    f"{folder} has models with {name} {manifest.get(name)!r}, got {value!r}; give another --out, or "
                    f"the same settings (robossl pretrain --resume {shell_path(folder)})"
                )
        chosen = list(dict.fromkeys([*manifest["seeds"], *chosen]))
    else:
        folder = output_dirs.create_output_dir(folder, "")
    with output_dirs.lock(folder):
        _write_manifest(folder, stream, chosen, request.log, found)
        return _train_all(folder, request, stream, chosen, progress)


def resume_pretraining_seeds(
    folder: str | Path,
    progress: ProgressReporter,
    updates: Steps | None = None,
    accept_changes: bool = False,
) -> EvaluationReport:
    """Finish the models of all seeds, or extend them; arguments and errors of `resume_pretraining`."""
    folder = Path(folder)
    manifest = output_dirs.read_manifest(folder, SEEDS)
    if (path := output_dirs.training_stream_of(folder)) is None:
        raise UsageError(f"{folder}: expected its stream, got no folder {manifest.get('stream_path')}")
    stream, config = Stream.open(path), manifest["world_model"]
    common = {name: manifest[name] for name in _COMMON}
    common["updates"] = new_total(common["updates"], updates, "updates")
    request = PretrainRequest(
        stream,
        config=config and WorldModelConfig.from_json(config),
        out=folder,
        log=manifest["log"],
        **common,
    )
    if updates is not None and request.updates <= manifest["updates"]:
        raise UsageError(
            f"updates: expected more than the {manifest['updates']:,} gradient steps of {folder}, or +N for N more, "
            f"got {updates}"
        )
    seeds = check_seeds(manifest["seeds"])
    with output_dirs.lock(folder):
        _write_manifest(folder, stream, seeds, request.log, _common(request))
        return _train_all(folder, request, stream, seeds, progress, accept_changes)


def _common(request: PretrainRequest) -> dict[str, Any]:
    """Return what all models of a folder have in common, as its manifest has it."""
    values = {name: getattr(request, name) for name in _COMMON}
    if request.from_model is not None:
        values["from_model"] = os.path.realpath(request.from_model)
    config = None if request.config is None else request.config.to_json()
    if config is not None:
        config = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}
    return {**values, "world_model": config}


def _write_manifest(
    folder: Path, stream: Stream, seeds: Sequence[int], log: Sequence[str], common: dict[str, Any]
) -> None:
    path = os.path.realpath(stream.path)
    output_dirs.write_manifest(
        folder, SEEDS, work=WORK, env=env_of(stream), seeds=list(seeds), log=list(log),
        stream=os.path.relpath(path, os.path.realpath(folder)), stream_path=path, **common,
    )  # fmt: skip


def _train_all(
    folder: Path,
    request: PretrainRequest,
    stream: Stream,
    seeds: Sequence[int],
    progress: ProgressReporter,
    accept_changes: bool = False,
) -> EvaluationReport:
    """Train the models that are not finished, and write the report over all."""
    if warning := few_episodes_warning(stream):
        progress.message(warning)
    on_cpu = resolve(request.device).type == "cpu"
    with ExitStack() as stack:
        trainings = []
        for seed in seeds:
            path = folder / f"seed-{seed}"
            if _is_finished(path, request.updates):
                continue
            if (path / output_dirs.MANIFEST).is_file():
                stack.enter_context(output_dirs.lock(path))
                trainings.append(_load(path, request.updates, accept_changes))
            else:
                threads = 1 if on_cpu else request.threads
                each = dataclasses.replace(request, seed=seed, threads=threads, stream=stream)
                stack.enter_context(output_dirs.lock_new(output_dirs.create_output_dir(path, "")))
                trainings.append(new_training(each, stream, path, NullProgress()))
        if trainings:
            _train(folder, trainings, thread_count(request.threads), progress, stack)
    return write_seeds_report(folder, {})


def _is_finished(path: Path, updates: int) -> bool:
    """Return whether a seed has its model after these updates, and its report, which is written last."""
    if not (path / report_file.NAME).is_file():
        return False
    return report_file.read(path).get("world_model", {}).get("updates") == updates


def _load(path: Path, updates: int, accept_changes: bool) -> ModelTraining:
    """Return the unfinished training of a seed, up to `updates`."""
    training = load_training(path, NullProgress(), accept_changes=accept_changes)
    if training.trainer.updates > updates:
        raise UsageError(
            f"{path} has {training.trainer.updates:,} gradient steps, more than the {updates:,} of all seeds; extend "
            f"all: robossl pretrain --resume {shell_path(path.parent)} --updates N"
        )
    facts, settings = training.facts, training.settings
    settings["pretrain"]["updates"] = updates
    settings["goals"]["head_updates"] = head_update_count(facts["head_updates"], updates)
    return training


def _train(
    folder: Path,
    trainings: Sequence[ModelTraining],
    threads: int,
    progress: ProgressReporter,
    stack: ExitStack,
) -> None:
    """Train up to the requested updates, and write the models; after Ctrl-C, the models so far."""
    start = time.perf_counter()
    loggers = {id(training.trainer): training.open_logger(stack) for training in trainings}
    by_trainer = {id(training.trainer): training for training in trainings}
    interruption: KeyboardInterrupt | None = None
    try:
        with torch_threads(threads):
            for group in group_trainers([training.trainer for training in trainings], threads, progress):
                _train_group(group, [by_trainer[id(t)] for t in group.trainers], loggers, progress)
    except KeyboardInterrupt:
        done = min(training.trainer.updates for training in trainings)
        interruption = KeyboardInterrupt(
            f"interrupted; the models of {done} or more updates are in {folder}; to go on: robossl pretrain --resume "
            f"{shell_path(folder)}"
        )
    progress.stop()
    seconds = (time.perf_counter() - start) / len(trainings)
    with torch_threads(trainings[0].origin["threads"]):
        for training in trainings:
            if interruption is None:
                progress.message(f"measure the world model of seed {training.settings['seed']}")
            training.write_model(finished=interruption is None)
            if interruption is None:
                _write_report(training, seconds)
                training.finish()
    if interruption is not None:
        raise interruption


def _train_group(
    group: TrainerGroup,
    trainings: Sequence[ModelTraining],
    loggers: dict[int, Logger],
    progress: ProgressReporter,
) -> None:
    """Train models at once up to the requested updates, with metrics and checkpoints as of one model."""
    total = trainings[0].total
    done = min(trainer.updates for trainer in group.trainers)
    names = "world model" if len(trainings) == 1 else f"{len(trainings)} world models"
    progress.start(f"train {names}", total, "updates")
    progress.update(done)
    while done < total:
        before = [trainer.updates for trainer in group.trainers]
        start = time.perf_counter()
        interval = world_model_phase.LOG_INTERVAL
        target = min(done - done % interval + interval, total)
        losses = group.run_to(target, progress)
        seconds = time.perf_counter() - start
        for trainer, first, found in zip(group.trainers, before, losses):
            if trainer.updates > first:
                log_training(loggers[id(trainer)], trainer, found, (trainer.updates - first) / seconds)
        interrupts.check()
        done = target
        for training in trainings:
            training.save_if_due()
    for training in trainings:
        training.save_now()


def _write_report(training: ModelTraining, seconds: float) -> None:
    """Write the report of the world model of one seed into its folder."""
    trainer, seed = training.trainer, training.settings["seed"]
    metrics, missing = evaluate_world_model(
        trainer.ema_model.frozen_copy(), trainer.stream, None, EVALUATION_SEED + seed
    )
    report = {
        "format": report_file.FORMAT,
        "env": training.facts["env"],
        "seed": seed,
        "versions": system_info()["versions"],
        "device": str(trainer.ema_model.device),
        "seconds": {"pretrain": seconds},
        "world_model": {**metrics, "updates": trainer.updates, "transitions": trainer.stream.transitions},
        "missing": {
            **{f"world_model.{key}": reason for key, reason in missing.items()},
            **dict.fromkeys(("goal_reaching", "control"), "a model was trained, and no env steps were taken"),
        },
    }  # fmt: skip
    report_file.write(training.folder, report)
