"""Entry point of the command line: selects the command, and reports every mistake in one line."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from robossl.cli import checking, learn, single_steps, stream_commands, sweeping, transfer, viewing, watching
from robossl.cli.command import Command, Parser
from robossl.cli.env_flags import HELP as ENV_HELP
from robossl.cli.env_flags import EnvFlags, split_env_flags
from robossl.core import interrupts
from robossl.core.call_watch import exit_on_hang
from robossl.core.errors import OperationError, UsageError, unknown_name_error

COMMANDS = [
    *learn.COMMANDS,
    *single_steps.COMMANDS,
    *transfer.COMMANDS,
    *sweeping.COMMANDS,
    *viewing.COMMANDS,
    *watching.COMMANDS,
    *stream_commands.COMMANDS,
    *checking.COMMANDS,
]

_DESCRIPTION = """\
Explore an environment, train a world model on the recorded data without reward, reach goals by planning in it,
train an agent on its representation, and report how well the representation transfers to control."""


def _overview() -> str:
    lines = "\n".join(f"  {command.name:16} {command.help}" for command in COMMANDS)
    return (
        f"usage: robossl COMMAND ...\n\n{_DESCRIPTION}\n\n{lines}\n\n"
        "More about a command: robossl COMMAND --help. To start:\n  robossl learn"
    )


def _select(args: list[str]) -> tuple[Command, list[str]]:
    """Return the command at the start of a command line, and the arguments after it."""
    commands = {command.name: command for command in COMMANDS}
    if args[0] == "stream":
        names = [name.split()[1] for name in commands if name.startswith("stream ")]
        if len(args) < 2 or args[1].startswith("-"):
            raise UsageError(f"robossl stream: expected one of {', '.join(names)}")
        if args[1] not in names:
            raise unknown_name_error("stream command", args[1], names)
        return commands[f"stream {args[1]}"], args[2:]
    if args[0] not in commands:
        raise unknown_name_error("command", args[0], [*(n for n in commands if " " not in n), "stream"])
    return commands[args[0]], args[1:]


def _make_parser(command: Command, show_help: bool) -> Parser:
    epilog = f"example:\n  {command.example}"
    if command.env:
        epilog += "\n\n" + ENV_HELP
    if command.settings and show_help:
        epilog += "\n\n" + importlib.import_module("robossl.cli.config").settings_help(command.settings)
    parser = Parser(
        prog=f"robossl {command.name}",
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def _apply_env_flags(command: Command, options: argparse.Namespace, flags: EnvFlags) -> None:
    """Give the flags of an env to the env of the command line; `learn` has one in a config file, or a default."""
    env = getattr(options, command.env)
    if env is not None:
        setattr(options, command.env, flags.apply(env))
    elif command.name != "learn":
        raise UsageError(
            "expected --env with the flags of an env; without them the recorded env is made again"
        )


def run(args: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        print(f"robossl {importlib.import_module('importlib.metadata').version('robossl')}")
        return 0
    command, rest = _select(list(args))
    if "TORCHELASTIC_RUN_ID" in os.environ and command.name != "pretrain":
        raise UsageError(
            f"torchrun: expected the command pretrain, got {command.name}; start it without torchrun"
        )
    show_help = bool({"-h", "--help"} & set(rest))
    parser = _make_parser(command, show_help)
    overrides: list[str] = []
    env_flags = EnvFlags()
    if command.env:
        rest, env_flags = split_env_flags(rest)
    if command.settings and not show_help:
        split_args = importlib.import_module("robossl.cli.config").split_args
        rest, overrides = split_args(rest, set(parser.option_strings))
    options = parser.parse_args(rest)
    options.overrides, options.env_flags = overrides, env_flags
    if env_flags:
        _apply_env_flags(command, options, env_flags)
    result = command.run(options)
    if getattr(options, "json", False):
        print(json.dumps(result.data, allow_nan=False))
    elif result.text:
        print(result.text)
    return result.code


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt a `with` block like Ctrl-C, so that a stopped command saves its work.

    The signal is noted, in case the interruption is raised where code swallows it. A signal that is ignored stays
    ignored, as under `nohup`. Child processes that inherit the handler end at once.
    """
    process = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        interrupts.note()
        raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {number: signal.getsignal(number) for number in numbers}
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    changed = [number for number in numbers if before[number] in defaults]
    interrupts.clear()
    for number in changed:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        interrupts.clear()
        for number in changed:
            signal.signal(number, before[number])


def _is_follower() -> bool:
    """Return whether `torchrun` started this process, and it is not the one that prints."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


def main() -> NoReturn:
    """Run `robossl`; exit codes: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted and saved."""
    try:
        exit_on_hang()
        with interrupt_on_signals():
            code = run(sys.argv[1:])
            sys.stdout.flush()
    except UsageError as error:
        if not _is_follower():
            print(f"robossl: {error}", file=sys.stderr)
        code = 2
    except (OperationError, MemoryError) as error:
        text = "the memory is full; give smaller sizes" if isinstance(error, MemoryError) else error
        print(f"robossl: {text}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt as interruption:
        with contextlib.suppress(OSError):  # the terminal may be gone
            if not _is_follower():
                print(f"\nrobossl: {str(interruption) or 'interrupted'}", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of stdout has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
