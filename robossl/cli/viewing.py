"""The commands `play`, `imagine` and `report`: videos, a viewer, and pages."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from robossl.cli.command import Command, CommandResult, add_flags, count, trust_env


def _add_play_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN_OR_ENV", help="a run or agent folder, or a Gymnasium id")
    parser.add_argument(
        "--policy", default="random", help="policy in an env: random, colored_noise, zero (random)"
    )
    parser.add_argument("--video", metavar="FILE.mp4", help="write a video; needs no display")
    parser.add_argument("--viewer", action="store_true", help="show a window")
    add_flags(parser, "episodes", "seed", "json", "quiet", "trust-env")


def _play(options: Namespace) -> CommandResult:
    from robossl.training import videos

    trust_env(options.trust_env)
    if not Path(options.path).is_dir():
        trust_env(options.path)
    data = videos.play(
        options.path, options.policy, options.video, options.viewer, options.episodes or 1, options.seed or 0
    )
    return CommandResult(data["text"], data)


def _add_imagine_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", help="a run or model folder")
    parser.add_argument(
        "--stream",
        metavar="STREAM",
        help="where the rollout starts (the stream that the model was trained on)",
    )
    parser.add_argument("--video", metavar="FILE.mp4", help="where to write it (RUN/imagination.mp4)")
    parser.add_argument("--horizon", type=count(2), default=100, metavar="N", help="steps to imagine (100)")
    add_flags(parser, "seed", "json", "quiet", "trust-env")


def _imagine(options: Namespace) -> CommandResult:
    from robossl.training import videos

    trust_env(options.trust_env)
    data = videos.imagine(options.path, options.stream, options.video, options.horizon, options.seed or 0)
    return CommandResult(data["text"], data)


def _add_report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="one run, or several to compare")
    add_flags(parser, "out", "json")


def _report(options: Namespace) -> CommandResult:
    from robossl.training.evaluation_runner import write_page

    data = write_page([Path(run) for run in options.runs], options.out)
    return CommandResult(data["text"], data)


COMMANDS = [
    Command(
        "play",
        "record or show an agent or a policy",
        "robossl play runs/reacher --video reacher.mp4",
        _add_play_arguments,
        _play,
    ),
    Command(
        "imagine",
        "record a video of an imagined rollout beside the real one",
        "robossl imagine runs/reacher",
        _add_imagine_arguments,
        _imagine,
    ),
    Command(
        "report",
        "write one page for a run, or for several runs to compare",
        "robossl report runs/reacher runs/reacher-2 --out compared",
        _add_report_arguments,
        _report,
    ),
]
