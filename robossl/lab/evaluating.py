"""The evaluation protocol by itself: of a run, a model on a stream, or an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.core.contracts import Progress
from robossl.core.errors import RequestError
from robossl.core.naming import written
from robossl.evaluation import report as reports
from robossl.lab import ablating, folders, measure, minds, plugins
from robossl.lab.config import to_toml
from robossl.lab.measure import EVALUATION_SEED, Measures
from robossl.streams import Stream
from robossl.world import WorldModel, door
from robossl.world.device import resolve


def evaluate(
    model: WorldModel | str | Path,
    stream: Stream | str | Path | None,
    env: str | None,
    episodes: int,
    pairs: int,
    offset: int,
    out: str | Path | None,
    seed: int,
    device: str,
    threads: int,
    progress: Progress,
    videos: bool,
    ablate: bool,
    updates: int | None,
) -> dict[str, Any]:
    """As `robossl.evaluate` says."""
    path = None if isinstance(model, WorldModel) else Path(model)
    kind = "model" if path is None else _kind(path)
    source = _stream(path, kind, stream)
    name = written(env or _env(path, kind, source))
    plugins.env_spec(name)
    world = model if isinstance(model, WorldModel) else None
    if path is not None and kind != "agent":
        world = minds.load_model(path, device)
    if world is not None and source is not None:
        _fits(world, source)
    if ablate and (world is None or source is None):
        raise RequestError("an agent alone has no objectives to leave out; give --ablate a model or a run")
    agents = _agents(path, kind, name)
    measures = Measures(name, seed, device=str(world.device if world is not None else resolve(device)))
    settings = {
        "of": str(path or "a model in memory"), "env": name, "stream": str(source.path) if source else None,
        "episodes": episodes, "pairs": pairs, "offset": offset, "seed": seed, "threads": threads, "videos": videos,
        "ablate": ablate, "updates": updates,
    }  # fmt: skip
    folder = folders.fresh(out, f"evaluations/{folders.slug(name)}")
    folders.sign(folder, "evaluation", settings, env=name, seed=seed, of=settings["of"])
    held = EVALUATION_SEED + seed
    if world is not None and source is not None:
        learned = int(world.facts.get("updates", 0))
        measures.world, measures.absent = measure.world(world, source, name, held, learned, progress)
        try:
            measures.goals = measure.goals(
                name, {"planner": world}, source, offset, pairs, held, threads, progress
            )
        except RequestError as error:
            measures.absent["goals"] = str(error)
        if videos:
            agent = agents.get("representation")
            measures.films = measure.films(folder, name, world, source, agent, held, measures.absent)
        else:
            measures.absent["videos"] = "not asked for"
        if ablate:
            spent = updates or learned or 2000
            measures.ablation, why = ablating.ablate(
                world, source, name, spent, offset, pairs, held, threads, progress
            )
            measures.absent |= why
    else:
        measures.absent |= dict.fromkeys(
            ("world", "goals"), "an agent alone was evaluated; no model was given"
        )
    if agents:
        rows = measure.table(name, agents, True, episodes, held, threads, measures.absent)
        measures.control = {**_spent(path), "rows": rows}
    else:
        measures.absent["control"] = "a model alone was evaluated; no agent was given"
    report = measure.write(folder, measures, to_toml(settings))
    return {**report, "folder": str(folder)}


def _env(path: Path | None, kind: str, source: Stream | None) -> str:
    """The env that what is to be judged was made for."""
    if path is not None and kind != "model":
        return minds.env_of(path)
    if source is None:
        raise RequestError("for which env? give env, or a stream that says so")
    return folders.recorded_env(source.path) or source.header["env"]


def _kind(path: Path) -> str:
    """run, model or agent."""
    if (path / "model.safetensors").is_file():
        return "model"
    return folders.signature(path, "run", "model", "agent")["kind"]


def _stream(path: Path | None, kind: str, stream: Stream | str | Path | None) -> Stream | None:
    if isinstance(stream, Stream):
        return stream
    if stream is not None:
        return Stream.open(stream)
    if kind == "run" and path is not None:
        return Stream.open(path / "stream")
    if kind == "agent":
        return None
    if path is not None and (own := folders.learned_from(path)) is not None:
        return Stream.open(own)
    raise RequestError("on which stream? a model is measured on held-out episodes: give a stream")


def _fits(model: WorldModel, stream: Stream) -> None:
    whose = f"the stream {stream.path} of {stream.header['env']}"
    door.fits(model, stream.observation_space, stream.action_space, whose)


def _spent(path: Path | None) -> dict[str, Any]:
    """Which agent it is and how many steps it has learned for, as far as its folder says."""
    if path is None:
        return {}
    mark = folders.signature(path, "run", "agent")
    if mark["kind"] == "agent":
        return {"agent": mark["agent"], "steps": mark["steps"]}
    control = reports.read(path).get("control", {}) if (path / reports.NAME).is_file() else {}
    return {name: control[name] for name in ("agent", "steps") if name in control}


def _agents(path: Path | None, kind: str, env: str) -> dict[str, Any]:
    """The agents there are to judge, by row."""
    if path is None or kind == "model":
        return {}
    found = {}
    for row, name in (("representation", "agent"), ("raw", "raw-agent")):
        if (path / name).is_dir():
            found[row] = minds.load_from(path / name, plugins.make_envs(env, 1))
    if kind == "agent" and folders.signature(path, "agent").get("representation") is False:
        found = {"raw": found["representation"]}
    return found
