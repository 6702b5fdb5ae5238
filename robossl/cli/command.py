"""Building blocks of the commands: the parser, flags that several commands share, and the result of a command."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from robossl.core.errors import UsageError
from robossl.core.limits import LARGEST_COUNT, LARGEST_EPISODES, LARGEST_THREADS


@dataclass(frozen=True)
class CommandResult:
    """Result of a command: text for people, data for `--json`, and the exit code."""

    text: str = ""
    data: Any = field(default_factory=dict)
    code: int = 0


@dataclass(frozen=True)
class Command:
    """A command of `robossl`.

    Attributes:
        name: "learn", or "stream info".
        help: What it does, one line.
        example: A command line.
        add_arguments: Adds its arguments to a parser.
        run: Runs it with the parsed arguments; imports what is slow to import only then.
        settings: Prefixes of the config keys that it takes as `--dotted.flags` too; empty: none.
        env: The argument that names an env, if the command takes the flags of an env; empty: it does not.
    """

    name: str
    help: str
    example: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], CommandResult]
    settings: tuple[str, ...] = ()
    env: str = ""


class Parser(ArgumentParser):
    """An argparse parser that reports a mistake in one line."""

    @property
    def option_strings(self) -> list[str]:
        """All flags of the parser."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.replace('argument ', '')}; see {self.prog} --help")


def count(minimum: int, maximum: int = LARGEST_COUNT) -> Callable[[str], int]:
    """Return a converter of text to a whole number from `minimum` to `maximum`; `1_000` is allowed."""

    def convert(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r:.60}") from None
        if not minimum <= value <= maximum:
            limits = f"{minimum} or more" if value < minimum else f"{minimum} to {maximum:,}"
            raise argparse.ArgumentTypeError(f"expected {limits}, got {value}")
        return value

    return convert


def name_list(text: str) -> tuple[str, ...]:
    """Convert `tensorboard,wandb` to a tuple of names."""
    return tuple(part for part in text.replace(",", " ").split() if part)


_FLAGS: dict[str, dict[str, Any]] = {
    "trust-env": {
        "metavar": "PACKAGE:ID",
        "help": "import this package (or PACKAGE) for an env that only a file names; no file imports anything itself",
    },
    "pretrained": {
        "metavar": "NAME",
        "help": "a model that is installed with robossl, for example reacher, or USER/NAME of the Hugging Face Hub",
    },
    "out": {"metavar": "DIR", "help": "output folder; must be empty or missing"},
    "seed": {"type": count(0), "metavar": "N", "help": "random seed (0)"},
    "steps": {"type": count(1), "metavar": "N", "help": "environment steps of all sub-environments"},
    "updates": {"type": count(1), "metavar": "N", "help": "gradient steps"},
    "num-envs": {"type": count(1), "metavar": "N", "help": "number of sub-environments"},
    "threads": {
        "type": count(0, LARGEST_THREADS),
        "metavar": "N",
        "help": "CPU threads; 0: all cores, at most 8",
    },
    "pixels": {
        "type": count(0),
        "metavar": "N",
        "help": "observe images of N x N pixels; 0: what the env returns (0)",
    },
    "episodes": {"type": count(1, LARGEST_EPISODES), "metavar": "N", "help": "held-out episodes"},
    "device": {"choices": ["auto", "cpu", "cuda", "mps"], "help": "device of the networks (auto)"},
    "backend": {
        "choices": ["mujoco", "warp"],
        "help": "what simulates the robots of robossl: mujoco, on the CPU; warp, on a GPU (mujoco)",
    },
    "log": {
        "type": name_list,
        "metavar": "NAMES",
        "help": "metric sinks beside metrics.jsonl: tensorboard, wandb, console",
    },
    "config": {"metavar": "FILE.toml", "help": "settings from a file; flags override them"},
    "json": {"action": "store_true", "help": "print the result as JSON on stdout, progress on stderr"},
    "accept-changes": {
        "action": "store_true",
        "help": "with --resume: go on although versions, robot, config or device differ from those of the start",
    },
    "engine": {
        "metavar": "NAME",
        "help": "what runs the workers: local, processes of this machine; ray, a Ray cluster (local)",
    },
    "quiet": {"action": "store_true", "help": "print no progress"},
}


def trust_env(env: str | None, package: bool = False) -> str | None:
    """Import the modules of an env `package:id` that the command line names, also from the working folder.

    With `package` a name without a colon is a package, too (`--trust-env PACKAGE`).
    """
    if env is None or not (":" in env or package):
        return env
    from robossl import registry

    search_working_folder()
    return registry.trust_env(env, package)


def search_working_folder() -> None:
    """Let imports find modules in the working folder, after all other places.

    Only a command line that names `package:id` does this: a folder with data must not provide modules.
    """
    with contextlib.suppress(OSError):  # the working folder may have been removed
        if (folder := os.getcwd()) not in sys.path:
            sys.path.append(folder)


def folder_or_pretrained(options: Namespace, name: str) -> str:
    """Return the folder (or env) of a command line, or that of its `--pretrained` model.

    Raises:
        UsageError: Neither or both are given, or there is no such model.
    """
    if (options.path is None) == (options.pretrained is None):
        got = "neither" if options.path is None else "both"
        raise UsageError(f"expected {name} or --pretrained NAME, got {got}")
    if options.pretrained is None:
        return options.path
    from robossl.training.pretrained import pretrained_folder

    return str(pretrained_folder(options.pretrained))


def add_flags(parser: ArgumentParser, *names: str) -> None:
    """Add flags that mean the same in every command."""
    for name in names:
        parser.add_argument(f"--{name}", **_FLAGS[name])


def specified(options: Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that the command line has; the others keep the default of the request."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}
