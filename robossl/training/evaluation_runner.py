"""The evaluation protocol by itself: of a run, a model on a stream, or an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.evaluation.report import report_file as reports
from robossl.streams import Stream
from robossl.training import ablation_training, agent_loading, evaluation_steps, output_dirs
from robossl.training.config import thread_count
from robossl.training.config_io import to_toml
from robossl.training.evaluation_steps import EVALUATION_SEED, EvaluationResults
from robossl.training.requests import EvaluateRequest
from robossl.world_model import WorldModel, data_validation
from robossl.world_model.device import resolve


def run_evaluation(request: EvaluateRequest, progress: ProgressReporter) -> dict[str, Any]:
    """Evaluate as requested; returns the report, with the output folder under "folder"."""
    model, stream, env, out = request.model, request.stream, request.env, request.out
    episodes, pairs, offset = request.episodes, request.goal_trials, request.goal_horizon
    seed, device, threads = request.seed, request.device, thread_count(request.threads)
    videos, ablate, updates = request.videos, request.ablate, request.updates
    path = None if isinstance(model, WorldModel) else Path(model)
    kind = "model" if path is None else _kind(path)
    source = _stream(path, kind, stream)
    name = canonical_id(env or _env(path, kind, source))
    registry.env_spec(name)
    world = model if isinstance(model, WorldModel) else None
    if path is not None and kind != "agent":
        world = agent_loading.load_model(path, device)
    if world is not None and source is not None:
        _fits(world, source)
    if ablate and (world is None or source is None):
        raise UsageError("an agent alone has no objectives to leave out; give --ablate a model or a run")
    agents = _agents(path, kind, name)
    measures = EvaluationResults(
        name, seed, device=str(world.device if world is not None else resolve(device))
    )
    settings = {
        "of": str(path or "a model in memory"), "env": name, "stream": str(source.path) if source else None,
        "episodes": episodes, "goal_trials": pairs, "goal_horizon": offset, "seed": seed, "threads": threads, "videos": videos,
        "ablate": ablate, "updates": updates,
    }  # fmt: skip
    folder = output_dirs.create_output_dir(out, f"evaluations/{output_dirs.slug(name)}")
    output_dirs.write_manifest(folder, "evaluation", settings, env=name, seed=seed, of=settings["of"])
    held = EVALUATION_SEED + seed
    if world is not None and source is not None:
        learned = int(world.metadata.get("updates", 0))
        measures.world, measures.absent = evaluation_steps.evaluate_world_model(
            world, source, name, held, learned, progress
        )
        try:
            measures.goals = evaluation_steps.goals(
                name, {"planner": world}, source, offset, pairs, held, threads, progress
            )
        except UsageError as error:
            measures.absent["goals"] = str(error)
        if videos:
            agent = agents.get("representation")
            measures.films = evaluation_steps.record_videos(
                folder, name, world, source, agent, held, measures.absent
            )
        else:
            measures.absent["videos"] = "not asked for"
        if ablate:
            spent = updates or learned or 2000
            measures.ablation, why = ablation_training.ablate(
                world, source, name, spent, offset, pairs, held, threads, progress
            )
            measures.absent |= why
    else:
        measures.absent |= dict.fromkeys(
            ("world", "goals"), "an agent alone was evaluated; no model was given"
        )
    if agents:
        rows = evaluation_steps.evaluate_policies(
            name, agents, True, episodes, held, threads, measures.absent
        )
        measures.control = {**_spent(path), "rows": rows}
    else:
        measures.absent["control"] = "a model alone was evaluated; no agent was given"
    report = evaluation_steps.write(folder, measures, to_toml(settings))
    return {**report, "folder": str(folder)}


def _env(path: Path | None, kind: str, source: Stream | None) -> str:
    """The env that what is to be judged was made for."""
    if path is not None and kind != "model":
        return agent_loading.env_of(path)
    if source is None:
        raise UsageError("for which env? give env, or a stream that says so")
    return output_dirs.recorded_env(source.path) or source.header["env"]


def _kind(path: Path) -> str:
    """run, model or agent."""
    if (path / "model.safetensors").is_file():
        return "model"
    return output_dirs.read_manifest(path, "run", "model", "agent")["kind"]


def _stream(path: Path | None, kind: str, stream: Stream | str | Path | None) -> Stream | None:
    if isinstance(stream, Stream):
        return stream
    if stream is not None:
        return Stream.open(stream)
    if kind == "run" and path is not None:
        return Stream.open(path / "stream")
    if kind == "agent":
        return None
    if path is not None and (own := output_dirs.training_stream_of(path)) is not None:
        return Stream.open(own)
    raise UsageError("on which stream? a model is measured on held-out episodes: give a stream")


def _fits(model: WorldModel, stream: Stream) -> None:
    whose = f"the stream {stream.path} of {stream.header['env']}"
    data_validation.check_spaces_match(model, stream.observation_space, stream.action_space, whose)


def _spent(path: Path | None) -> dict[str, Any]:
    """Which agent it is and how many steps it has learned for, as far as its folder says."""
    if path is None:
        return {}
    mark = output_dirs.read_manifest(path, "run", "agent")
    if mark["kind"] == "agent":
        return {"agent": mark["agent"], "steps": mark["steps"]}
    control = reports.read(path).get("control", {}) if (path / reports.NAME).is_file() else {}
    return {name: control[name] for name in ("agent", "steps") if name in control}


def _agents(path: Path | None, kind: str, env: str) -> dict[str, Any]:
    """The agents there are to judge, by row."""
    if path is None or kind == "model":
        return {}
    found = {}
    for row, name in (("representation", "agent"), ("raw", "observation-agent")):
        if (path / name).is_dir():
            found[row] = agent_loading.load_from(path / name, registry.make_envs(env, 1))
    if kind == "agent" and output_dirs.read_manifest(path, "agent").get("representation") is False:
        found = {"raw": found["representation"]}
    return found
