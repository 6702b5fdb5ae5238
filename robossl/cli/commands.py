"""What each verb does: the Python functions, and words about what came of it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.errors import UsageError
from robossl.logging.progress import make_progress
from robossl.cli import config as cli_config
from robossl.training import config_io
from robossl.training.config import LearnConfig
from robossl.world_model.config import WorldModelConfig


@dataclass(frozen=True)
class CommandResult:
    """What a verb answers: words for people, data for machines, an exit code."""

    text: str = ""
    data: Any = field(default_factory=dict)
    code: int = 0


_COMMON = {  # flags that mean the same everywhere -> keys of LearnConfig
    "env": "env",
    "seed": "seed",
    "steps": "steps",
    "threads": "threads",
    "device": "device",
    "num_envs": "explore.num_envs",
    "updates": "pretrain.updates",
}


def config_help(verb: str) -> str:
    """The keys that --config and --dotted.flags may set, with their defaults."""
    known = {"learn": config_io.flatten_fields(LearnConfig), "pretrain": _world_keys()}[verb]
    shown = {name: default for name, (_, default) in known.items() if verb != "learn" or "." in name}
    lines = [f"  --{name} {_plain(default)}" for name, default in shown.items()]
    return "settings and their defaults (also in --config FILE.toml):\n" + "\n".join(lines)


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _world_keys() -> dict[str, Any]:
    return {f"world_model.{name}": entry for name, entry in config_io.flatten_fields(WorldModelConfig).items()}


def learn(options: Namespace) -> CommandResult:
    """`robossl learn`."""
    say = make_progress(options.quiet)
    if options.resume:
        given = [
            f"--{n.replace('_', '-')}" for n in (*_COMMON, "config", "out") if getattr(options, n) is not None
        ]
        if given or options.overrides:
            raise UsageError(
                f"--resume goes on with the run's own settings; it takes no {', '.join(given + options.overrides[:1])}"
            )
        layers: list[tuple[str, dict[str, Any]]] = []
    else:
        flags = {key: getattr(options, n) for n, key in _COMMON.items() if getattr(options, n) is not None}
        layers = [("command line", flags | cli_config.parse_overrides(options.overrides, LearnConfig))]
        if options.config:
            layers.insert(0, (options.config, config_io.from_toml(options.config)))
    settings = config_io.parse(LearnConfig, *layers)
    if not options.resume:
        space = _observed(settings.env)
        settings = config_io.parse(LearnConfig, _recipe(space), *layers)
    from robossl.training.phases import learn as run

    report = run(settings, out=options.out, resume=options.resume, progress=say)
    return _reported(report)


def _observed(env: str) -> Any:
    """The observation space of one lane of an env."""
    envs = registry.make_envs(env, 1)
    try:
        return envs.single_observation_space
    finally:
        envs.close()


def _recipe(observation_space: Any) -> tuple[str, dict[str, Any]]:
    """The layer below all others: how to learn from such observations where nothing else is asked for."""
    from robossl.world_model.config import default_config_for

    return "the recipe", {
        f"world_model.{name}": value for name, value in default_config_for(observation_space).to_json().items()
    }


def _reported(report: dict[str, Any]) -> CommandResult:
    from robossl.evaluation.report.text import text_summary

    folder = Path(report["folder"])
    return CommandResult("\n".join([*text_summary(report), str((folder / "report.html").resolve())]), report)


def envs(options: Namespace) -> CommandResult:
    """`robossl envs`."""
    from robossl.cli.formatting import rows, table

    found = rows(registry.env_ids(options.all), options.filter)
    return CommandResult(table(found), found)


def check(options: Namespace) -> CommandResult:
    """`robossl check`."""
    from robossl.env_checker import check as checking

    findings = checking.check(options.env)
    return CommandResult(
        checking.describe(findings), checking.to_json(findings), int(checking.failed(findings))
    )


def doctor(options: Namespace) -> CommandResult:
    """`robossl doctor`."""
    from robossl.cli import doctor as examining

    found = examining.diagnose()
    return CommandResult(examining.describe(found), found, int(bool(found["problems"])))


def collect(options: Namespace) -> CommandResult:
    """`robossl collect`."""
    registry.env_spec(options.env)
    from robossl.training import api

    stream = api.collect(
        options.env, options.policy, options.steps or 50_000, options.out, options.seed or 0,
        make_progress(options.quiet), options.num_envs or 16, options.threads or 0,
    )  # fmt: skip
    text = f"{stream.rows:,} rows in {stream.lanes} lanes, {len(stream.episodes()):,} episodes\n{stream.path}"
    return CommandResult(text, {"path": str(stream.path), "rows": stream.rows, "lanes": stream.lanes})


_PRETRAIN = ("seed", "threads", "device", "pretrain.updates")  # what pretrain takes besides world_model.*


def pretrain(options: Namespace) -> CommandResult:
    """`robossl pretrain`."""
    from robossl.streams import Stream
    from robossl.training import api, hub

    flags = {key: getattr(options, n) for n, key in _COMMON.items() if getattr(options, n, None) is not None}
    layers = [("command line", flags | cli_config.parse_overrides(options.overrides, LearnConfig))]
    if options.config:
        layers.insert(0, (options.config, config_io.from_toml(options.config)))
    given = {name: origin for origin, layer in layers for name in layer}
    for name, origin in given.items():
        if not name.startswith("world_model.") and name not in _PRETRAIN:
            raise UsageError(f"{origin}: pretrain takes world_model.* and {', '.join(_PRETRAIN)}; got {name!r}")
    settings = config_io.parse(
        LearnConfig, _recipe(Stream.open(options.stream).observation_space), *layers
    )
    updates = settings.pretrain.updates if "pretrain.updates" in given else 2000
    if options.push_to_hub:
        hub.check_login(options.push_to_hub)
    model = api.pretrain(
        options.stream, updates, settings.world_model, options.out, settings.seed, settings.device,
        settings.threads, make_progress(options.quiet),
    )  # fmt: skip
    path = model.metadata["path"]
    text, found = f"latent of {model.latent_dim}, version {model.version}\n{path}", {"path": path}
    if options.push_to_hub:
        found["pushed"] = hub.push(path, options.push_to_hub)
        text += f"\n{found['pushed']}"
    return CommandResult(text, found)


def train(options: Namespace) -> CommandResult:
    """`robossl train`."""
    registry.env_spec(options.env)
    from robossl.training import api

    folder = api.trained(
        options.env, options.agent, options.representation, options.mode, options.steps or 20_000,
        options.num_envs or 8, options.threads or 0, options.out, options.seed or 0,
        options.device or "auto", make_progress(options.quiet), options.export_sb3,
    ).folder  # fmt: skip
    return CommandResult(str(folder), {"path": str(folder)})


def evaluate(options: Namespace) -> CommandResult:
    """`robossl evaluate`."""
    from robossl.training import api

    report = api.evaluate(
        options.path, options.stream, episodes=options.episodes or 20, pairs=options.goal_trials,
        offset=options.goal_horizon, out=options.out, seed=options.seed or 0, device=options.device or "auto",
        threads=options.threads or 0, progress=make_progress(options.quiet), videos=not options.no_videos,
        ablate=options.ablate, updates=options.updates,
    )  # fmt: skip
    return _reported(report)


def play(options: Namespace) -> CommandResult:
    """`robossl play`."""
    from robossl.training import videos

    found = videos.play(
        options.path, options.policy, options.video, options.viewer, options.episodes or 1, options.seed or 0
    )
    return CommandResult(found["text"], found)


def imagine(options: Namespace) -> CommandResult:
    """`robossl imagine`."""
    from robossl.training import videos

    found = videos.dream(options.path, options.stream, options.video, options.horizon, options.seed or 0)
    return CommandResult(found["text"], found)


def stream_info(options: Namespace) -> CommandResult:
    """`robossl stream info`."""
    from robossl.cli.formatting import stream_text
    from robossl.streams import describe_stream

    found = describe_stream(options.stream)
    return CommandResult(stream_text(found), found)


def stream_validate(options: Namespace) -> CommandResult:
    """`robossl stream validate`."""
    from robossl.cli.formatting import validation_text
    from robossl.streams import validate_stream

    found = validate_stream(options.stream, repair=options.repair)
    return CommandResult(validation_text(found), found, 0 if found["ok"] else 1)


def stream_export(options: Namespace) -> CommandResult:
    """`robossl stream export`."""
    from robossl.streams.formats import export_stream

    out = _given_out(options)
    return _exchanged(export_stream(options.stream, options.to, out, options.images, make_progress(options.quiet)))


def stream_import(options: Namespace) -> CommandResult:
    """`robossl stream import`."""
    from robossl.streams.formats import import_stream

    out = _given_out(options)
    return _exchanged(import_stream(options.source, options.origin, out, make_progress(options.quiet)))


def _given_out(options: Namespace) -> str:
    if options.out is None:
        raise UsageError("--out is needed: the folder to write")
    return options.out


def _exchanged(found: dict[str, Any]) -> CommandResult:
    """What went over, and what did not."""
    lost = [f"not kept: {words}" for words in found["losses"]] or ["nothing is lost"]
    return CommandResult(
        "\n".join([f"{found['rows']:,} rows, {found['episodes']:,} episodes", *lost, found["path"]]), found
    )


def report(options: Namespace) -> CommandResult:
    """`robossl report`."""
    from robossl.training.videos import compare

    found = compare([Path(r) for r in options.runs], options.out)
    return CommandResult(found["text"], found)
