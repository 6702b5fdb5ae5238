"""The command `learn`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli.command import Command, CommandResult, add_flags, count, name_list, trust_env
from robossl.cli.continuing import check_resume
from robossl.core.errors import UsageError

_EXCLUSIVE = (
    "workers", "engine",
    "seeds", "updates", "num_envs", "threads", "pixels", "backend", "device", "seed", "log", "config", "out",
)  # fmt: skip


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", help="a Gymnasium id (robossl/Reacher-v0) or an MJCF file")
    parser.add_argument("--resume", metavar="RUN", help="resume a run, or with --steps extend it")
    parser.add_argument(
        "--steps", metavar="N", help="environment steps of all sub-environments, in total; with --resume +N: N more; "
        "unlimited: until the run is stopped",
    )  # fmt: skip
    parser.add_argument(
        "--seeds",
        nargs="+",
        metavar="N",
        help="repeat the run with each seed in DIR/seed-N, and report over all: 0 1 2",
    )
    parser.add_argument(
        "--seeds-at-once",
        type=count(1),
        metavar="N",
        help="with --seeds: so many at the same time, in processes (1)",
    )
    parser.add_argument(
        "--workers",
        type=count(1),
        metavar="N",
        help="processes that explore, each in its share of the sub-environments (0: this one)",
    )
    add_flags(
        parser, "engine",
        "updates", "num-envs", "threads", "pixels", "backend", "device", "seed", "log", "config", "out", "json",
        "quiet", "trust-env", "accept-changes",
    )  # fmt: skip


def _run(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.training.extension import parse_steps
    from robossl.training.phases import learn

    trust_env(options.trust_env, package=True)
    options.steps = None if options.steps is None else parse_steps(options.steps)
    progress = make_progress(options.quiet)
    if options.resume:
        check_resume(options, _EXCLUSIVE)
        return report_result(
            learn(
                resume=options.resume,
                progress=progress,
                steps=options.steps,
                accept_changes=options.accept_changes,
                seeds_at_once=options.seeds_at_once or 1,
            )
        )
    if str(options.steps).startswith("+"):
        raise UsageError(f"--steps: expected +N with --resume RUN, got {options.steps} for a new run")
    seeds = None if options.seeds is None else seed_list(options)
    if options.seeds_at_once and seeds is None:
        raise UsageError("--seeds-at-once: expected --seeds with it")
    at_once = options.seeds_at_once or 1
    return report_result(
        learn(_config(options), options.out, progress=progress, seeds=seeds, seeds_at_once=at_once)
    )


def seed_list(options: Namespace) -> list[int]:
    """Return the seeds of `--seeds 0 1 2` or `--seeds 0,1,2`."""
    if options.seed is not None:
        raise UsageError("--seeds and --seed: expected one of them, got both")
    names = name_list(",".join(options.seeds))
    if not all(name.isdecimal() for name in names):
        raise UsageError(f"--seeds: expected whole numbers of 0 or more, got {' '.join(options.seeds)}")
    return [int(name) for name in names]


def _config(options: Namespace) -> Any:
    """Return the config of a command line, over the default world model for the observations of the env."""
    from contextlib import closing

    from robossl import registry
    from robossl.cli.config import layers_of
    from robossl.training.config import LearnConfig
    from robossl.training.config_io import parse

    layers = layers_of(options)
    config = parse(LearnConfig, *layers)
    if options.env_flags and options.env is None:  # they are about the env of the file, or the default one
        layers[-1] = (layers[-1][0], {**layers[-1][1], "env": options.env_flags.apply(config.env)})
        config = parse(LearnConfig, *layers)
    if options.env is not None or not options.config:
        trust_env(config.env)
    else:
        registry.check_recorded_env(config.env, options.config)
    with closing(registry.make_envs(config.env, 1, pixels=config.pixels)) as envs:
        return parse(LearnConfig, world_model_defaults(envs.single_observation_space), *layers)


def world_model_defaults(observation_space: Any) -> tuple[str, dict[str, Any]]:
    """Return the config layer with the default world model for these observations (state or images)."""
    from robossl.world_model.config import default_config_for

    values = default_config_for(observation_space).to_json()
    return "defaults", {f"world_model.{name}": value for name, value in values.items()}


def report_result(report: dict[str, Any]) -> CommandResult:
    """Return the result of a command that wrote a report."""
    from pathlib import Path

    from robossl.evaluation.report.text_summary import report_text

    page = (Path(report["folder"]) / "report.html").resolve()
    return CommandResult(f"{report_text(report)}\n{page}", report)


COMMANDS = [
    Command(
        "learn",
        "explore, train a world model, train an agent on it, and evaluate",
        "robossl learn robossl/CartPoleSwingUp-v0 --steps 80_000 --world_model.latent_dim 32",
        _add_arguments,
        _run,
        settings=("explore.", "pretrain.", "world_model.", "agent.", "goals.", "evaluate.", "variation."),
        env="env",
    )
]
