"""The flags `--resume`, `--append` and `--from` of the single steps: go on with what a folder has."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli.command import add_flags, count, trust_env
from robossl.core.errors import UsageError


def add_resume_flags(parser: ArgumentParser, folder: str, unit: str) -> None:
    """Add `--resume` with the flags that belong to it.

    Args:
        parser: The parser of a command.
        folder: What is resumed: STREAM, MODEL, AGENT.
        unit: Flag of the amount of work: steps, updates.
    """
    parser.add_argument(
        "--resume",
        metavar=folder,
        help=f"finish an interrupted one with its own settings; with --{unit} extend it: a new total, or +N for N more",
    )
    add_flags(parser, "accept-changes", "trust-env")


def amount(text: str) -> int | str:
    """Convert `96_000` to a number and `+32_000` to `+32000`, of a command line."""
    if not text.startswith("+"):
        return count(1)(text)
    return f"+{count(1)(text[1:])}"


def check_resume(options: Namespace, names: tuple[str, ...]) -> None:
    """Raise UsageError if a flag of `names` or a setting is given beside `--resume`."""
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name, None) is not None]
    given += list(options.overrides)
    if given:
        raise UsageError(f"--resume uses the settings that it began with; remove {', '.join(given)}")
    trust_env(options.trust_env)


def check_new(options: Namespace, names: tuple[str, ...], positional: str) -> None:
    """Raise UsageError if the positional argument is missing, or an amount is given as `+N`."""
    if getattr(options, positional) is None:
        raise UsageError(f"expected {positional.upper()}, or --resume; see --help")
    for name in names:
        if str(getattr(options, name)).startswith("+"):
            raise UsageError(f"--{name}: expected +N with --resume, got {getattr(options, name)}")
    if options.accept_changes:
        raise UsageError("--accept-changes: expected --resume with it")


def add_amount(parser: ArgumentParser, name: str, text: str) -> None:
    """Add a flag that takes a number, or `+N` with `--resume`."""
    parser.add_argument(f"--{name}", type=_amount, metavar="N", help=text)


def _amount(text: str) -> Any:
    try:
        return amount(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def collect(options: Namespace) -> Any:
    """Run `collect --resume` or `collect --append`, and return the stream."""
    from robossl.logging.progress import make_progress
    from robossl.training.continuation import append_episodes, resume_collection

    progress = make_progress(options.quiet)
    if options.resume:
        check_resume(options, ("env", "policy", "num_envs", "threads", "pixels", "seed", "out", "append"))
        return resume_collection(options.resume, progress, options.steps, options.accept_changes)
    extra = [name for name in ("num_envs", "pixels", "out") if getattr(options, name) is not None]
    if extra:
        raise UsageError(
            f"--append records in the lanes of the stream; remove --{extra[0].replace('_', '-')}"
        )
    if options.steps is None:
        raise UsageError("--append: expected --steps N, the number of steps to append")
    trust_env(options.env)
    trust_env(options.trust_env)
    steps = int(options.steps)
    return append_episodes(
        options.append, progress, steps, options.env, options.policy, options.seed, options.threads or 0
    )
