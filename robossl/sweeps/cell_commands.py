"""The commands that a cell can be: each checks its settings, runs or resumes in a folder, and returns measures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robossl import registry
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import ProgressReporter
from robossl.streams import Stream
from robossl.training import output_dirs
from robossl.training.config import LearnConfig
from robossl.training.config_io import parse
from robossl.training.requests import EvaluateRequest, PretrainRequest, TrainRequest
from robossl.training.work_context import torch_threads

# Each command is imported when it is used: a worker process needs one of them, and starts sooner.
if TYPE_CHECKING:
    from robossl.study.study_run import TransferRequest
    from robossl.world_model import WorldModelConfig

Settings = Mapping[str, Any]
Measures = dict[str, float]
_METRICS = "metrics.jsonl"
_OPTIMIZER = "/train/"  # in the name of a metric of the agent's networks
_UNREPEATABLE = ("time/", "memory/")  # metrics that differ from run to run
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "bool": (bool,), "str": (str,), "float": (int, float)}


@dataclass(frozen=True)
class CellCommand:
    """A command that a cell can be.

    Attributes:
        check: Raises UsageError for settings that it does not accept; arguments are the settings and the threads.
        run: Runs the command in a folder, or goes on there, and returns its numbers; arguments are the settings, the
            folder, the threads, and what receives the progress.
    """

    check: Callable[[Settings, int], Any]
    run: Callable[[Settings, Path, int, ProgressReporter], Measures]


# --- learn


def _learn_config(settings: Settings, threads: int) -> LearnConfig:
    """Return the config over the default world model for the observations of the env; `auto` is sac or dqn."""
    from robossl.training.config_validation import validate_config
    from robossl.world_model.config import default_config_for

    layer = ("the sweep", {"threads": threads, **settings})
    config = parse(LearnConfig, layer)
    with closing(registry.make_envs(config.env, 1, pixels=config.pixels)) as envs:
        defaults = default_config_for(envs.single_observation_space).to_json()
    world_model = {f"world_model.{name}": value for name, value in defaults.items()}
    whole = parse(LearnConfig, ("defaults", world_model), layer)
    return validate_config(whole, imagines=False)  # all cells of a sweep have one agent


def _run_learn(settings: Settings, folder: Path, threads: int, progress: ProgressReporter) -> Measures:
    from robossl.evaluation.report import page, report_file
    from robossl.training.phases import learn

    if (folder / page.NAME).is_file():  # written last
        return _report_measures(report_file.read(folder))
    if (folder / output_dirs.MANIFEST).is_file():
        return _report_measures(learn(resume=folder, progress=progress))
    return _report_measures(learn(_learn_config(settings, threads), folder, progress=progress))


def _report_measures(report: Mapping[str, Any]) -> Measures:
    """Return the headline numbers of a report by key."""
    from robossl.evaluation.report_metrics import headline_metrics

    found = {metric.key: metric.value(report) for metric in headline_metrics([report])}
    return {key: value["mean"] for key, value in found.items() if value is not None}


# --- pretrain


def _pretrain_request(settings: Settings, threads: int, folder: Path | None = None) -> PretrainRequest:
    from robossl.world_model.config import default_config_for

    values = _arguments(PretrainRequest, settings, threads, ("config", "out", "encoder"), ("world_model.",))
    model = values.pop("world_model.")
    stream = Stream.open(values["stream"])
    defaults = default_config_for(stream.observation_space).to_json()
    layers = [{f"world_model.{n}": v for n, v in each.items()} for each in (defaults, model)]
    config: WorldModelConfig = parse(LearnConfig, *(("the sweep", each) for each in layers)).world_model
    if model and values.get("from_model") is not None:
        raise UsageError(
            "from_model begins with a model of its own config; remove the settings world_model.*"
        )
    return PretrainRequest(**{**values, "stream": stream}, config=config, out=folder)


def _run_pretrain(settings: Settings, folder: Path, threads: int, progress: ProgressReporter) -> Measures:
    from robossl.training import pretraining

    if (folder / output_dirs.MANIFEST).is_file():
        pretraining.resume_pretraining(folder, progress)
    else:
        pretraining.pretrain_world_model(_pretrain_request(settings, threads, folder), progress)
    return _last_metrics(folder)


def _last_metrics(folder: Path) -> Measures:
    """Return the last value of each metric in metrics.jsonl, without those of speed and memory."""
    values: Measures = {}
    path = folder / _METRICS
    for line in path.read_text().splitlines() if path.is_file() else ():
        values |= json.loads(line)
    return {k: v for k, v in values.items() if k != "step" and not k.startswith(_UNREPEATABLE)}


# --- train


def _train_request(settings: Settings, threads: int, folder: Path | None = None) -> TrainRequest:
    values = _arguments(
        TrainRequest,
        settings,
        threads,
        ("out", "callbacks", "export_sb3", "arguments", "settings"),
        ("settings.",),
    )
    registry.env_spec(values["env"])
    agent_settings = values.pop("settings.")
    return TrainRequest(**values, settings=agent_settings, out=folder)


def _run_train(settings: Settings, folder: Path, threads: int, progress: ProgressReporter) -> Measures:
    from robossl.training import agent_training

    if (folder / output_dirs.MANIFEST).is_file():
        agent_training.resume_agent_training(folder, progress)
    else:
        agent_training.train_agent(_train_request(settings, threads, folder), progress)
    found = _last_metrics(folder)
    return dict(sorted(found.items(), key=lambda item: _OPTIMIZER in item[0]))  # returns before losses


# --- evaluate


def _evaluate_request(settings: Settings, threads: int, folder: Path | None = None) -> EvaluateRequest:
    values = _arguments(EvaluateRequest, settings, threads, ("out", "arguments"))
    if not Path(values["model"]).is_dir():
        raise UsageError(
            f"model: expected the folder of a run, model or agent, got no folder {values['model']}"
        )
    return EvaluateRequest(**values, out=folder)


def _run_evaluate(settings: Settings, folder: Path, threads: int, progress: ProgressReporter) -> Measures:
    from robossl.training.evaluation_runner import resume_evaluation, run_evaluation

    if (folder / output_dirs.MANIFEST).is_file():
        return _report_measures(resume_evaluation(folder, progress))
    shutil.rmtree(folder, ignore_errors=True)  # it ended before its manifest was written
    with torch_threads(threads):
        return _report_measures(run_evaluation(_evaluate_request(settings, threads, folder), progress))


# --- transfer


def _transfer_request(settings: Settings, threads: int, folder: Path | None = None) -> TransferRequest:
    from robossl.study.protocol import SIZE_FLAGS
    from robossl.study.study_run import TransferRequest

    excluded = ("out", "resume", "workers", "engine", "retry_failed", "sizes")
    sizes = {name: value for name, value in settings.items() if name in SIZE_FLAGS}
    rest = {name: value for name, value in settings.items() if name not in SIZE_FLAGS}
    values = _arguments(TransferRequest, rest, threads, excluded, more=SIZE_FLAGS)
    return TransferRequest(**values, sizes=sizes, out=folder, workers=1)


def _run_transfer(settings: Settings, folder: Path, threads: int, progress: ProgressReporter) -> Measures:
    from robossl.study.study_run import run_transfer

    report = run_transfer(_transfer_request(settings, threads, folder), progress)
    rows = report["transfer"]["rows"]
    return {f"{name}.score": row["score"]["mean"] for name, row in rows.items() if "score" in row}


# --- arguments


def _arguments(
    request: type,
    settings: Settings,
    threads: int,
    excluded: tuple[str, ...],
    prefixes: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the arguments of a request; those with a prefix as a dict under the prefix.

    Raises:
        UsageError: A name is unknown, a value has another type, or one without default is missing.
    """
    fields = {entry.name: entry for entry in dataclasses.fields(request) if entry.name not in excluded}
    values: dict[str, Any] = {"threads": threads, **{prefix: {} for prefix in prefixes}}
    for name, value in settings.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is not None:
            values[prefix][name.removeprefix(prefix)] = value
            continue
        if name not in fields:
            known = [*fields, *more, *(f"{prefix}NAME" for prefix in prefixes)]
            raise unknown_name_error("argument", name, known)
        _check_type(name, value, str(fields[name].type))
        values[name] = value
    for name, entry in fields.items():
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageError(f"expected {name} in the settings or axes of the sweep, got none")
    return values


def _check_type(name: str, value: Any, annotation: str) -> None:
    """Raise UsageError if a value has none of the plain types of an annotation; lists and tables are not checked."""
    parts = [part.strip() for part in annotation.split("|")]
    names = [part for part in parts if part in _TYPES]
    if not names or any("[" in part for part in parts):
        return
    kinds = [_TYPES[part] for part in names]
    if not any(isinstance(value, kind) for kind in kinds) or (
        isinstance(value, bool) and (bool,) not in kinds
    ):
        raise UsageError(f"{name}: expected {' or '.join(names)}, got {value!r}")


COMMANDS = {
    "learn": CellCommand(_learn_config, _run_learn),
    "pretrain": CellCommand(_pretrain_request, _run_pretrain),
    "train": CellCommand(_train_request, _run_train),
    "evaluate": CellCommand(_evaluate_request, _run_evaluate),
    "transfer": CellCommand(_transfer_request, _run_transfer),
}
