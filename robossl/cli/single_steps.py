"""The commands for single steps: `collect`, `pretrain`, `train`, `evaluate`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli import continuing
from robossl.cli.command import (
    Command,
    CommandResult,
    add_flags,
    count,
    folder_or_pretrained,
    name_list,
    specified,
    trust_env,
)
from robossl.core.errors import UsageError
from robossl.core.limits import LARGEST_EPISODES

_WORLD_MODEL_KEYS = (
    "world_model.", "seed", "threads", "device", "log", "pretrain.updates", "goals.head_updates",
)  # fmt: skip
_AGENT_KEYS = {  # config key -> field of TrainRequest
    "agent.name": "agent",
    "agent.num_envs": "num_envs",
    "agent.encoder": "encoder",
    "steps": "steps",
    "seed": "seed",
    "threads": "threads",
    "pixels": "pixels",
    "device": "device",
    "log": "log",
}
_TRAIN_FLAGS = (
    "agent", "representation", "encoder", "steps", "num_envs", "threads", "out", "seed", "device", "log",
    "export_sb3", "stream", "offline_updates", "pixels",
)  # fmt: skip
_AGENT_SETTINGS = ("agent.settings.", "agent.updates_per_step", "agent.learning_starts")


# --- collect


def _add_collect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", help="a Gymnasium id or an MJCF file")
    parser.add_argument(
        "--policy",
        metavar="POLICY",
        help="random, colored_noise, curious, zero, or a run folder (colored_noise)",
    )
    continuing.add_amount(parser, "steps", "environment steps of all sub-environments (50,000)")
    continuing.add_resume_flags(parser, "STREAM", "steps")
    parser.add_argument(
        "--append",
        metavar="STREAM",
        help="record --steps more into a stream: it goes on where it ended, or with new episodes of another --policy, "
        "--seed or ENV of the same robot",
    )
    parser.add_argument(
        "--workers",
        type=count(1),
        metavar="N",
        help="collectors, each of which records whole episodes into a shard (0: one stream, in this process)",
    )
    add_flags(parser, "engine")
    parser.add_argument(
        "--record-envs",
        type=count(1),
        metavar="N",
        help="record only the first N sub-environments (all)",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        help="device of the simulation with --backend warp (auto)",
    )
    add_flags(parser, "num-envs", "threads", "pixels", "backend", "seed", "out", "json", "quiet")


def _collect(options: Namespace) -> CommandResult:
    from robossl import registry
    from robossl.logging.progress import make_progress
    from robossl.training.collection import collect_stream
    from robossl.training.requests import CollectRequest

    if options.resume or options.append:
        stream = continuing.collect(options)
    else:
        continuing.check_new(options, ("steps",), "env")
        trust_env(options.env)
        registry.env_spec(options.env)
        names = (
            "policy",
            "steps",
            "out",
            "seed",
            "num_envs",
            "threads",
            "pixels",
            "backend",
            "record_envs",
            "device",
            "workers",
            "engine",
        )
        values = specified(options, names)
        stream = collect_stream(CollectRequest(options.env, **values), make_progress(options.quiet))
    episodes = len(stream.episodes())
    text = f"{stream.rows:,} time steps in {stream.lanes} lanes, {episodes:,} episodes\n{stream.path}"
    return CommandResult(text, {"path": str(stream.path), "rows": stream.rows, "lanes": stream.lanes})


# --- pretrain


def _add_pretrain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("stream", nargs="?", help="a stream folder")
    continuing.add_amount(parser, "updates", "gradient steps (2,000)")
    continuing.add_resume_flags(parser, "MODEL", "updates")
    parser.add_argument(
        "--from",
        dest="from_model",
        metavar="MODEL",
        help="begin with the weights of this model, which is not changed",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="instead of a world model: normalized, random, pca, autoencoder, time_shuffled, scrambled or noise",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        metavar="N",
        help="train a model with each seed at once, in DIR/seed-N, and report over all: 0 1 2 3",
    )
    parser.add_argument(
        "--push-to-hub", metavar="USER/NAME", help="also upload the model to the Hugging Face Hub"
    )
    add_flags(parser, "threads", "device", "seed", "log", "config", "out", "json", "quiet")


def _pretrain(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.training import hub
    from robossl.training.pretraining import pretrain_world_model, resume_pretraining
    from robossl.training.pretraining_seeds import is_pretraining_seeds

    progress = make_progress(options.quiet)
    if options.push_to_hub:
        hub.check_login(options.push_to_hub)
    if options.resume:
        exclusive = ("from_model", "baseline", "threads", "device", "seed", "seeds", "log", "config", "out")
        continuing.check_resume(options, exclusive, "stream", "updates")
    if options.seeds or (options.resume and is_pretraining_seeds(options.resume)):
        return _pretrain_seeds(options, progress)
    if options.resume:
        model = resume_pretraining(options.resume, progress, options.updates, options.accept_changes)
    else:
        model = pretrain_world_model(_pretrain_request(options), progress)
    if "path" not in model.metadata:
        return CommandResult()  # of a process of torchrun that writes nothing
    path = model.metadata["path"]
    text, data = f"latent dimension {model.latent_dim}, version {model.version}\n{path}", {"path": path}
    if options.push_to_hub:
        data["commit"] = hub.push(path, options.push_to_hub)
        text += f"\n{data['commit']}"
    return CommandResult(text, data)


def _pretrain_seeds(options: Namespace, progress: Any) -> CommandResult:
    from robossl.cli.learn import report_result, seed_list
    from robossl.training.pretraining_seeds import pretrain_seeds, resume_pretraining_seeds

    if options.push_to_hub:
        raise UsageError("--push-to-hub: expected one model, got several seeds; upload one of their folders")
    if options.resume:
        report = resume_pretraining_seeds(options.resume, progress, options.updates, options.accept_changes)
    else:
        report = pretrain_seeds(_pretrain_request(options), seed_list(options), progress)
    return report_result(report)


def _pretrain_request(options: Namespace) -> Any:
    from robossl.cli.config import layers_of
    from robossl.cli.learn import world_model_defaults
    from robossl.streams import Stream
    from robossl.training.config import LearnConfig
    from robossl.training.config_io import parse
    from robossl.training.requests import PretrainRequest

    continuing.check_new(options, ("updates",), "stream")
    layers = layers_of(options, _WORLD_MODEL_KEYS)
    names = {name for _, values in layers for name in values}
    defaults = world_model_defaults(Stream.open(options.stream).observation_space)
    config = parse(LearnConfig, defaults, *layers)
    values: dict[str, Any] = {
        n: getattr(config, n) for n in ("seed", "threads", "device", "log") if n in names
    }
    if "pretrain.updates" in names:
        values["updates"] = config.pretrain.updates
    if "goals.head_updates" in names:
        values["head_updates"] = config.goals.head_updates
    values |= specified(options, ("baseline", "from_model"))
    if options.from_model and any(name.startswith("world_model.") for name in names):
        raise UsageError("--from begins with a model of its own config; remove the flags --world_model.*")
    return PretrainRequest(options.stream, config=config.world_model, out=options.out, **values)


# --- train


def _add_train_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", help="a Gymnasium id or an MJCF file")
    parser.add_argument("--agent", metavar="NAME", help="auto, sac, td3, ppo, dqn, or another agent (auto)")
    parser.add_argument(
        "--representation", metavar="MODEL", help="a model or run folder: the world model to use"
    )
    parser.add_argument(
        "--encoder",
        metavar="MODE",
        help="none, random, frozen, finetune, cotrain, scratch (frozen with a representation, else none)",
    )
    parser.add_argument("--export-sb3", metavar="FILE", help="also write SB3's own zip file, for other tools")
    parser.add_argument(
        "--stream",
        metavar="STREAM",
        help="a recorded stream that the agent learns from before its first step",
    )
    parser.add_argument(
        "--offline-updates", type=count(0), metavar="N", help="updates on the stream (20,000 for most agents)"
    )
    text = "environment steps of all sub-environments; 0 with --stream: learn from the stream alone (20,000)"
    continuing.add_amount(parser, "steps", text, minimum=0)
    continuing.add_resume_flags(parser, "AGENT", "steps")
    add_flags(
        parser, "num-envs", "threads", "pixels", "device", "seed", "log", "config", "out", "json", "quiet"
    )


def _train(options: Namespace) -> CommandResult:
    from robossl import registry
    from robossl.logging.progress import make_progress
    from robossl.training.agent_training import resume_agent_training, train_agent
    from robossl.training.requests import TrainRequest

    progress = make_progress(options.quiet)
    if options.resume:
        continuing.check_resume(options, (*(name for name in _TRAIN_FLAGS if name != "steps"), "config"))
        result = resume_agent_training(options.resume, progress, options.steps, options.accept_changes)
    else:
        continuing.check_new(options, ("steps",), "env")
        trust_env(options.env)
        registry.env_spec(options.env)
        result = train_agent(TrainRequest(options.env, **_agent_values(options)), progress)
    folder = result.folder
    return CommandResult(str(folder), {"path": str(folder)})


def _agent_values(options: Namespace) -> dict[str, Any]:
    """Return the fields of a TrainRequest: from `--config` and settings, overridden by the command's own flags."""
    from robossl.cli.config import layers_of
    from robossl.training.config import LearnConfig
    from robossl.training.config_io import flatten, parse

    flags = specified(options, _TRAIN_FLAGS)
    rest = Namespace(overrides=options.overrides, config=options.config)
    layers = layers_of(rest, (*_AGENT_KEYS, *_AGENT_SETTINGS))
    config = parse(LearnConfig, *layers)
    names, values = {name for _, layer in layers for name in layer}, flatten(config)
    from_config = {field: values[key] for key, field in _AGENT_KEYS.items() if key in names}
    settings = dict(config.agent.settings)
    for name in ("updates_per_step", "learning_starts"):
        if f"agent.{name}" in names:
            settings.setdefault(name, values[f"agent.{name}"])
    return {**from_config, **flags, "settings": settings}


# --- evaluate


def _add_evaluate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN_OR_MODEL", nargs="?", help="a run, model or agent folder")
    add_flags(parser, "pretrained")
    parser.add_argument("--stream", metavar="STREAM", help="the stream to evaluate a model on")
    parser.add_argument(
        "--env", metavar="ENV", help="the env (the one that the folder or stream was made for)"
    )
    parser.add_argument(
        "--goal-trials",
        type=count(1, LARGEST_EPISODES),
        metavar="N",
        help="goal-reaching trials at each distance (16)",
    )
    parser.add_argument(
        "--goal-horizons", type=_counts, metavar="N,N", help="steps between start and goal (10,25,50,100)"
    )
    parser.add_argument(
        "--no-videos", dest="videos", action="store_false", default=None, help="record no videos"
    )
    parser.add_argument(
        "--also",
        type=name_list,
        metavar="NAMES",
        help="add sections that take minutes: robustness, imitation, oracle_gap",
    )
    parser.add_argument(
        "--ablate", action="store_true", default=None, help="train variants with other objectives and compare"
    )
    add_flags(parser, "updates", "episodes", "threads", "device", "seed", "out", "json", "quiet")
    continuing.add_resume_flags(parser, "EVALUATION")


def _counts(text: str) -> tuple[int, ...]:
    """Convert `10,25,50` of a command line."""
    return tuple(map(count(1), text.split(",")))


def _evaluate(options: Namespace) -> CommandResult:
    from robossl.cli.learn import report_result
    from robossl.logging.progress import make_progress
    from robossl.training.evaluation_runner import resume_evaluation, run_evaluation
    from robossl.training.pretrained import collect_for_evaluation
    from robossl.training.requests import EvaluateRequest
    from robossl.training.work_context import torch_threads

    names = (
        "stream", "env", "episodes", "goal_trials", "goal_horizons", "out", "seed", "device", "threads", "videos",
        "ablate", "updates", "also",
    )  # fmt: skip
    progress = make_progress(options.quiet)
    if options.resume:
        continuing.check_resume(options, ("pretrained", *names), "path", amount=None)
        return report_result(resume_evaluation(options.resume, progress, options.accept_changes))
    continuing.check_new(options, (), None)
    trust_env(options.env)
    trust_env(options.trust_env, package=True)
    folder = folder_or_pretrained(options, "RUN_OR_MODEL")
    values = specified(options, names)
    if options.pretrained and "stream" not in values:
        seed = options.seed or 0
        values["stream"] = collect_for_evaluation(folder, options.env, options.threads or 0, seed, progress)
    request = EvaluateRequest(folder, **values)
    with torch_threads(request.threads):
        return report_result(run_evaluation(request, progress))


COMMANDS = [
    Command(
        "collect",
        "record a policy in a stream",
        "robossl collect robossl/Reacher-v0 --policy colored_noise --steps 50_000 --out streams/reacher",
        _add_collect_arguments,
        _collect,
        env="env",
    ),
    Command(
        "pretrain",
        "train a world model on a stream, without reward",
        "robossl pretrain streams/reacher --updates 2000 --out models/reacher",
        _add_pretrain_arguments,
        _pretrain,
        settings=("world_model.", "goals.head_updates"),
    ),
    Command(
        "train",
        "train an agent, on a representation or on observations",
        "robossl train robossl/Reacher-v0 --agent sac --representation models/reacher --steps 20_000",
        _add_train_arguments,
        _train,
        settings=("agent.settings",),
        env="env",
    ),
    Command(
        "evaluate",
        "evaluate a run, model or agent, and write report.json and report.html",
        "robossl evaluate models/reacher --stream streams/reacher",
        _add_evaluate_arguments,
        _evaluate,
        env="env",
    ),
]
