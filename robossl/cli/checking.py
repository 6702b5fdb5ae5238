"""The commands `envs`, `check`, `check-agent` and `doctor`: what is available, and what is wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from robossl.cli.command import Command, CommandResult, add_flags, count, search_working_folder
from robossl.core.errors import UsageError


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
    parser.add_argument(
        "--time-limit",
        type=count(1),
        default=10,
        metavar="SECONDS",
        help="stop a call into the env that takes longer [s] (10); imports, construction and the first reset have more",
    )
    add_flags(parser, "json", "quiet")


def _check(options: Namespace) -> CommandResult:
    from robossl.env_checker.check import check
    from robossl.env_checker.check_result import any_failed
    from robossl.env_checker.summary import describe_summary, print_check

    if ":" in options.env:
        search_working_folder()
    results = check(options.env, options.time_limit, None if options.json else print_check)
    return CommandResult(describe_summary(results), [r.to_json() for r in results], int(any_failed(results)))


def _add_check_agent_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("agent", help="name of an agent: of robossl, or of an installed package")
    add_flags(parser, "json", "quiet")


def _check_agent(options: Namespace) -> CommandResult:
    from robossl.cli.config import parse_overrides
    from robossl.env_checker.check_agent import check_agent
    from robossl.env_checker.check_result import any_failed, format_count, format_result
    from robossl.training.config import LearnConfig
    from robossl.training.config_io import parse

    values = parse_overrides(options.overrides, LearnConfig)
    for name in values:
        if not name.startswith("agent.settings."):
            raise UsageError(f"expected a setting of the agent (--agent.settings.*), got --{name}")
    results = check_agent(options.agent, **parse(LearnConfig, ("command line", values)).agent.settings)
    lines = [line for result in results for line in format_result(result)]
    text = "\n".join([*lines, "", format_count(results)])
    return CommandResult(text, [r.to_json() for r in results], int(any_failed(results)))


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
        env="env",
    ),
    Command(
        "check-agent",
        "check that an agent implements the agent protocol, and suggest fixes",
        "robossl check-agent sac --agent.settings.learning_starts 100",
        _add_check_agent_arguments,
        _check_agent,
        settings=("agent.settings",),
    ),
    Command(
        "doctor",
        "check this machine: versions, devices, rendering",
        "robossl doctor",
        _add_doctor_arguments,
        _doctor,
    ),
]
