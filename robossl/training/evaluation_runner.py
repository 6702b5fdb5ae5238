"""Evaluate a run, a world model on a stream, or an agent, and write its report."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, ProgressReporter
from robossl.core.small_files import as_path
from robossl.evaluation.context import EvaluationContext, recorded_settings
from robossl.evaluation.control import time_limit_warning
from robossl.evaluation.report import page, report_file
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.streams import Stream
from robossl.training import agent_loading, config_io, output_dirs
from robossl.training.agent_rows import AGENT, STREAM, agent_rows
from robossl.training.config import GoalsConfig, LearnConfig, head_update_count, thread_count
from robossl.training.requests import EvaluateRequest
from robossl.training.world_model_phase import fit_heads
from robossl.world_model import WorldModel, data_validation
from robossl.world_model.device import resolve

_EVALUATED = "a world model, or the folder of a run, agent or model"
_UNKNOWN_UPDATES = 2000  # gradient steps to assume of a model whose number is unknown


def run_evaluation(request: EvaluateRequest, progress: ProgressReporter) -> dict[str, Any]:
    """Evaluate as requested and write report.json and report.html.

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
    with ExitStack() as stack:
        agents = _agents(path, folder_kind, env, stack)
        default = f"evaluations/{output_dirs.slug(env)}"
        folder = stack.enter_context(output_dirs.output_dir(request.out, default))
        output_dirs.write_manifest(
            folder, "evaluation", settings, env=env, seed=request.seed, of=settings["of"]
        )
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
        try:
            report = page.write_report(context)
        except KeyboardInterrupt:
            kept = (
                f"what was measured before is in {folder}"
                if page.write_interrupted(context)
                else "no results yet"
            )
            raise KeyboardInterrupt(f"interrupted; {kept}") from None
    return {**report, "folder": str(folder)}


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


def _agents(path: Path | None, folder_kind: str, env: str, stack: ExitStack) -> dict[str, Agent]:
    """Return the agents of a folder by report row; `stack` closes their envs."""
    if path is None or folder_kind == "model":
        return {}
    settings = agent_loading.env_settings(path)

    def load(folder: Path) -> Agent:
        envs = registry.make_envs(env, 1, **settings)
        stack.callback(envs.close)
        return agent_loading.load_from(folder, envs)

    if folder_kind == "agent":
        return {output_dirs.read_manifest(path, "agent")["row"]: load(path / AGENT)}
    config_path = path / "config.toml"
    config = config_io.parse(LearnConfig, (str(config_path), config_io.from_toml(config_path)))
    stream = Stream.open(path / STREAM)
    name = agent_loading.resolve_agent(config.agent.name, stream.action_space)
    rows, _ = agent_rows(config.agent, name, stream.observation_space)
    return {row.row: load(path / row.folder) for row in rows if (path / row.folder).is_dir()}
