"""The flags `--resume`, `--append` and `--from` of the single steps: go on with what a folder has."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli.command import add_flags, count, trust_env
from robossl.core.errors import UsageError


def add_resume_flags(parser: ArgumentParser, folder: str, unit: str | None = None) -> None:
    """Add `--resume` with the flags that belong to it.

    Args:
        parser: The parser of a command.
        folder: What is resumed: STREAM, MODEL, AGENT, EVALUATION.
        unit: Flag of the amount of work: steps, updates; None: it cannot be extended.
    """
    extend = f"; with --{unit} extend it: a new total, or +N for N more" if unit else ""
    parser.add_argument(
        "--resume",
        metavar=folder,
        help=f"finish an interrupted one with its own settings{extend}",
    )
    add_flags(parser, "accept-changes", "trust-env")


def check_resume(
    options: Namespace, flags: tuple[str, ...], argument: str = "env", amount: str | None = "steps"
) -> None:
    """Raise UsageError if a flag, a setting, an env flag or the positional `argument` is given beside `--resume`."""
    given = [getattr(options, argument)] if getattr(options, argument) is not None else []
    given += [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name, None) is not None]
    given += ["the flags of the env"] if options.env_flags else []
    given += [" ".join(options.overrides)] if options.overrides else []
    if given:
        free = f", except for --{amount}" if amount else ""
        raise UsageError(f"--resume uses the settings that it began with{free}; remove {', '.join(given)}")
    trust_env(options.trust_env, package=True)


def check_new(options: Namespace, names: tuple[str, ...], positional: str | None) -> None:
    """Raise UsageError if the positional argument is missing, or an amount is given as `+N`."""
    if positional is not None and getattr(options, positional) is None:
        raise UsageError(f"expected the argument {positional}, or --resume; see --help")
    for name in names:
        if str(getattr(options, name)).startswith("+"):
            raise UsageError(f"--{name}: expected +N with --resume, got {getattr(options, name)}")
    if options.accept_changes:
        raise UsageError("--accept-changes: expected --resume with it")


def add_amount(parser: ArgumentParser, name: str, text: str, minimum: int = 1) -> None:
    """Add a flag that takes a number of `minimum` or more, or `+N` with `--resume`."""

    def convert(value: str) -> int | str:
        return f"+{count(1)(value[1:])}" if value.startswith("+") else count(minimum)(value)

    parser.add_argument(f"--{name}", type=convert, metavar="N", help=text)


def collect(options: Namespace) -> Any:
    """Run `collect --resume` or `collect --append`, and return the stream."""
    from robossl.logging.progress import make_progress
    from robossl.training.continuation import append_episodes, resume_collection

    progress = make_progress(options.quiet)
    if options.resume:
        fixed = (
            "policy",
            "num_envs",
            "threads",
            "pixels",
            "seed",
            "out",
            "append",
            "backend",
            "device",
            "record_envs",
            "workers",
            "engine",
        )
        check_resume(options, fixed)
        return resume_collection(options.resume, progress, options.steps, options.accept_changes)
    refused = ("num_envs", "pixels", "out", "backend", "device", "record_envs", "workers", "engine")
    extra = [name for name in refused if getattr(options, name) is not None]
    if extra:
        raise UsageError(
            f"--append records in the lanes of the stream; remove --{extra[0].replace('_', '-')}"
        )
    if options.steps is None:
        raise UsageError("--append: expected --steps N, the number of steps to append")
    trust_env(options.env)
    trust_env(options.trust_env, package=True)
    steps = int(options.steps)
    return append_episodes(
        options.append, progress, steps, options.env, options.policy, options.seed, options.threads or 0
    )
