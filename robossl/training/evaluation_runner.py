"""Evaluate a run, a world model on a stream, or an agent, and write its report."""

from __future__ import annotations

import functools
import shlex
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.env_ids import EnvName, canonical_id
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import Agent, ProgressReporter
from robossl.core.small_files import as_path
from robossl.evaluation import partial_results
from robossl.evaluation.context import EvaluationContext, recorded_settings
from robossl.evaluation.control import time_limit_warning
from robossl.evaluation.report import page, report_file
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.streams import Stream
from robossl.training import agent_loading, config_io, output_dirs, provenance
from robossl.training.agent_rows import AGENT, STREAM, agent_rows
from robossl.training.config import GoalsConfig, LearnConfig, head_update_count, thread_count
from robossl.training.requests import EvaluateRequest
from robossl.training.work_context import torch_threads
from robossl.training.world_model_phase import fit_heads
from robossl.world_model import WorldModel, data_validation
from robossl.world_model.device import resolve

_EVALUATED = "a world model, or the folder of a run, agent or model"
_UNKNOWN_UPDATES = 2000  # gradient steps to assume of a model whose number is unknown
_PLAIN_SETTINGS = (
    "episodes", "goal_trials", "goal_horizons", "head_updates", "seed", "device", "videos", "ablate", "updates",
)  # fmt: skip


def resume_evaluation(
    folder: str | Path, progress: ProgressReporter, accept_changes: bool = False
) -> dict[str, Any]:
    """Finish an interrupted evaluation with its own settings; rows and sections that are measured are kept.

    Args:
        folder: Folder of the evaluation.
        progress: Receives the progress.
        accept_changes: Go on although what decides the results has changed.

    Raises:
        UsageError: The folder has no evaluation of a model in a folder, or what decides the results has changed.
    """
    folder = as_path(folder, "the folder of an evaluation")
    manifest = output_dirs.read_manifest(folder, "evaluation")
    recorded = manifest.get("request")
    if not isinstance(recorded, dict):
        raise UsageError(f"{folder}: expected the evaluation of a model in a folder, got one in memory")
    if (folder / report_file.NAME).is_file() and not partial_results.read(folder):
        return {**report_file.read(folder), "folder": str(folder)}
    registry.check_recorded_env(str(recorded.get("env")), folder)
    try:
        request = EvaluateRequest(**recorded)
    except TypeError as error:
        raise UsageError(f"{folder / output_dirs.MANIFEST}: expected a request, got {error}") from error
    with torch_threads(request.threads):
        return run_evaluation(request, progress, folder, accept_changes)


def run_evaluation(
    request: EvaluateRequest,
    progress: ProgressReporter,
    resumed: Path | None = None,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Evaluate as requested and write report.json and report.html.

    Args:
        request: What to evaluate, and how.
        progress: Receives the progress.
        resumed: Folder of an interrupted evaluation with this request.
        accept_changes: Resume although what decides the results has changed.

    Returns:
        The report, with the output folder under "folder".
    """
    path = None if isinstance(request.model, WorldModel) else as_path(request.model, _EVALUATED)
    folder_kind = "model" if path is None else _folder_kind(path)
    stream = _stream(path, folder_kind, request.stream)
    env = canonical_id(
        registry.name_of(request.env, **request.arguments)
        if request.env is not None
        else _env(path, folder_kind, stream)
    )
    if warning := time_limit_warning(env):
        progress.message(warning)
    model = _model(request, path, folder_kind)
    if model is not None:
        _check_fit(model, stream, env)
    if request.goal_horizons is not None and (reason := _no_goals(env)):
        raise UsageError(f"goal_horizons: {reason}")
    if request.ablate and (model is None or stream is None):
        raise UsageError("an agent alone has no objectives to ablate; give --ablate a model or a run")
    updates = 0 if model is None else int(model.metadata.get("updates", 0))
    head_updates = head_update_count(request.head_updates, updates or _UNKNOWN_UPDATES)
    settings = {
        "of": str(path or "a model in memory"), "env": env, "stream": str(stream.path) if stream else None,
        "episodes": request.episodes, "goal_trials": request.goal_trials,
        "goal_horizons": list(request.goal_horizons or GoalsConfig.horizons), "head_updates": head_updates,
        "seed": request.seed, "threads": thread_count(request.threads), "videos": request.videos,
        "ablate": request.ablate, "also": list(request.also), "updates": request.updates,
    }  # fmt: skip
    if resumed is not None:  # the paths as they were given, perhaps in another working folder
        given = config_io.from_toml(resumed / "config.toml")
        settings |= {name: given.get(name) for name in ("of", "stream")}
    with ExitStack() as stack:
        agents, agent_names = _agents(path, folder_kind, env, stack)
        default = f"evaluations/{output_dirs.slug(env)}"
        inputs = {
            "rows of the stream": stream.rows if stream else None,
            "version of the model": int(model.version) if model else None,
        }
        decides = provenance.provenance({**settings, **inputs}, env, request.threads, request.device)
        command, measured = "", {}
        if resumed is None:
            folder = stack.enter_context(output_dirs.output_dir(request.out, default))
            output_dirs.write_manifest(
                folder, "evaluation", settings, env=env, seed=request.seed, of=settings["of"],
                request=_recorded_request(request, path, env, stream),
            )  # fmt: skip
        else:
            folder = resumed
            stack.enter_context(output_dirs.lock(folder))
            measured = partial_results.read(folder)
        if path is not None:
            command = _resume_command(folder, env)
        if measured:
            for line in provenance.check_changes(measured["provenance"], decides, command, accept_changes):
                progress.message(f"{folder} {line}")
        if model is not None and stream is not None:
            model = model.frozen_copy()
            if model.goal_heads is None:  # the folder of the model is not changed
                fit_heads(model, stream, head_updates, request.seed, progress)
        context = EvaluationContext(
            env=env,
            seed=request.seed,
            model=model,
            stream=stream,
            env_settings=agent_loading.env_settings(path) if path is not None and agents else {},
            agents=agents,
            agent_names=agent_names,
            **_agent_training(path, folder_kind),
            updates=updates,
            episodes=request.episodes,
            goal_horizons=request.goal_horizons or GoalsConfig.horizons,
            goal_trials=request.goal_trials,
            also=request.also,
            ablation_updates=(request.updates or updates or _UNKNOWN_UPDATES) if request.ablate else None,
            videos=request.videos,
            threads=thread_count(request.threads),
            device=str(model.device if model is not None else resolve(request.device)),
            config=config_io.to_toml(settings),
            folder=folder,
            progress=progress,
        )
        partial_results.restore(context, measured)
        context.save = functools.partial(partial_results.write, folder, context, decides)
        try:
            report = page.write_report(context)
        except KeyboardInterrupt:
            kept = (
                f"what was measured before is in {folder}"
                if page.write_interrupted(context)
                else "no results yet"
            )
            more = f"; to go on: {command}" if command else ""
            raise KeyboardInterrupt(f"interrupted; {kept}{more}") from None
        partial_results.remove(folder)
    return {**report, "folder": str(folder)}


def _recorded_request(
    request: EvaluateRequest, path: Path | None, env: str, stream: Stream | None
) -> dict[str, Any] | None:
    """Return the request as JSON values, for `resume_evaluation`; None of a model in memory."""
    if path is None:
        return None
    given = {name: getattr(request, name) for name in _PLAIN_SETTINGS}
    paths = {"model": str(path.resolve()), "stream": str(stream.path.resolve()) if stream else None}
    return {
        **given,
        **paths,
        "env": env,
        "threads": thread_count(request.threads),
        "also": list(request.also),
    }


def _resume_command(folder: Path, env: str) -> str:
    trust = f" --trust-env {shlex.quote(env)}" if EnvName.parse(env).modules else ""
    return f"robossl evaluate --resume {shell_path(folder)}{trust}"


def _folder_kind(path: Path) -> str:
    """Return "run", "model" or "agent"."""
    if (path / "model.safetensors").is_file():
        return "model"
    return output_dirs.read_manifest(path, "run", "model", "agent")["kind"]


def _model(request: EvaluateRequest, path: Path | None, folder_kind: str) -> WorldModel | None:
    if isinstance(request.model, WorldModel):
        return request.model
    assert path is not None
    if folder_kind == "agent" and (request.stream is None or not agent_loading.has_representation(path)):
        return None
    return agent_loading.load_model(path, request.device)


def _stream(path: Path | None, folder_kind: str, stream: Stream | str | Path | None) -> Stream | None:
    if isinstance(stream, Stream):
        return stream
    if stream is not None:
        return Stream.open(stream)
    if folder_kind == "agent":
        return None
    if path is not None and (trained_on := agent_loading.training_stream(path)) is not None:
        return trained_on
    raise UsageError("expected a stream: a model is evaluated on held-out episodes; give a stream")


def _env(path: Path | None, folder_kind: str, stream: Stream | None) -> str:
    """Return the env that the folder or the stream was made for."""
    if path is not None and folder_kind != "model":
        return agent_loading.env_of(path)
    if stream is None:
        raise UsageError("expected an env; give env, or a stream with an env in its header")
    env = output_dirs.recorded_env(stream.path) or stream.header.get("env")
    if env is None:
        raise UsageError(f"{stream.path} has no env in its header; give env")
    return registry.check_recorded_env(env, stream.path)


def _check_fit(model: WorldModel, stream: Stream | None, env: str) -> None:
    """Raise UsageError if the model is one of another robot than the stream or the env."""
    settings = {}
    if stream is not None:
        where = f"the stream {stream.path} of {stream.header['env']}"
        data_validation.check_spaces_match(model, stream.observation_space, stream.action_space, where)
        settings = recorded_settings(stream)
    with closing(registry.make_envs(env, 1, **settings)) as envs:
        data_validation.check_spaces_match(
            model, envs.single_observation_space, envs.single_action_space, f"the env {env}"
        )


def _no_goals(env: str) -> str | None:
    """Return why policies cannot be given goals in an env; None if they can."""
    with closing(registry.make_envs(env, 1)) as envs:
        return missing_goals_reason(envs.single_observation_space)


def _agent_training(path: Path | None, folder_kind: str) -> dict[str, Any]:
    """Return the name of the agents and the env steps they were trained for, if the folder has them."""
    if path is None or folder_kind == "model":
        return {}
    if folder_kind == "agent":
        source: dict[str, Any] = output_dirs.read_manifest(path, "agent")
    elif (path / report_file.NAME).is_file():
        source = report_file.read(path).get("control", {})
    else:
        source = {}
    return {"agent": source.get("agent"), "agent_steps": source.get("steps")}


def _agents(
    path: Path | None, folder_kind: str, env: str, stack: ExitStack
) -> tuple[dict[str, Agent], dict[str, str]]:
    """Return the agents of a folder and their names by report row; `stack` closes their envs."""
    if path is None or folder_kind == "model":
        return {}, {}
    settings = agent_loading.env_settings(path)

    def load(folder: Path) -> Agent:
        envs = registry.make_envs(env, 1, **settings)
        stack.callback(envs.close)
        return agent_loading.load_from(folder, envs)

    if folder_kind == "agent":
        manifest = output_dirs.read_manifest(path, "agent")
        return {manifest["row"]: load(path / AGENT)}, {manifest["row"]: manifest["agent"]}
    config_path = path / "config.toml"
    config = config_io.parse(LearnConfig, (str(config_path), config_io.from_toml(config_path)))
    stream = Stream.open(path / STREAM)
    rows, _ = agent_rows(config.agent, stream.observation_space, stream.action_space)
    rows = [row for row in rows if (path / row.folder).is_dir()]
    return {row.row: load(path / row.folder) for row in rows}, {row.row: row.agent for row in rows}
