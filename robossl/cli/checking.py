"""The commands `envs`, `check` and `doctor`: what is available, and what is wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from robossl.cli.command import Command, CommandResult, add_flags


def _add_envs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--filter", metavar="TEXT", help="only ids that contain this text")
    parser.add_argument("--all", action="store_true", help="all ids of Gymnasium, not only those of robossl")
    add_flags(parser, "json")


def _envs(options: Namespace) -> CommandResult:
    from robossl import registry
    from robossl.cli.formatting import describe_envs, format_envs

    data = describe_envs(registry.env_ids(options.all), options.filter)
    return CommandResult(format_envs(data), data)


def _add_check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("env", help="a Gymnasium id (package:id imports the package first), or an MJCF file")
    add_flags(parser, "json", "quiet")


def _check(options: Namespace) -> CommandResult:
    from robossl.env_checker.check import check
    from robossl.env_checker.check_result import any_failed
    from robossl.env_checker.summary import describe

    results = check(options.env)
    return CommandResult(describe(results), [r.to_json() for r in results], int(any_failed(results)))


def _add_doctor_arguments(parser: ArgumentParser) -> None:
    add_flags(parser, "json", "quiet")


def _doctor(options: Namespace) -> CommandResult:
    from robossl.cli.doctor import describe, diagnose

    data = diagnose()
    return CommandResult(describe(data), data, int(bool(data["problems"])))


COMMANDS = [
    Command("envs", "list the environments", "robossl envs --filter Reacher", _add_envs_arguments, _envs),
    Command(
        "check",
        "check an environment and suggest fixes",
        "robossl check Pendulum-v1",
        _add_check_arguments,
        _check,
    ),
    Command(
        "doctor",
        "check this machine: versions, devices, rendering",
        "robossl doctor",
        _add_doctor_arguments,
        _doctor,
    ),
]
