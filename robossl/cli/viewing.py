"""The commands `play`, `imagine` and `report`: videos, a viewer, and pages."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from robossl.cli.command import Command, CommandResult, add_flags, count, folder_or_pretrained, trust_env


def _add_play_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="RUN_OR_ENV", nargs="?", help="a run or agent folder, or a Gymnasium id"
    )
    add_flags(parser, "pretrained")
    parser.add_argument(
        "--policy", default="random", help="policy in an env: random, colored_noise, zero (random)"
    )
    parser.add_argument("--video", metavar="FILE.mp4", help="write a video; needs no display")
    parser.add_argument("--viewer", action="store_true", help="show a window")
    add_flags(parser, "episodes", "seed", "json", "quiet", "trust-env")


def _play(options: Namespace) -> CommandResult:
    from robossl.training import videos

    trust_env(options.trust_env, package=True)
    path = folder_or_pretrained(options, "RUN_OR_ENV")
    if options.pretrained and not options.viewer and options.video is None:
        options.video = f"{options.pretrained.replace('/', '-')}.mp4"
    if not Path(path).is_dir():
        trust_env(path)
    data = videos.play(
        path, options.policy, options.video, options.viewer, options.episodes or 1, options.seed or 0
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
    parser.add_argument("--env", metavar="ENV", help="env that renders the frames (the recorded one)")
    add_flags(parser, "seed", "json", "quiet", "trust-env")


def _imagine(options: Namespace) -> CommandResult:
    from robossl.training import videos

    trust_env(options.trust_env, package=True)
    trust_env(options.env)
    data = videos.imagine(
        options.path, options.stream, options.video, options.horizon, options.seed or 0, options.env
    )
    return CommandResult(data["text"], data)


def _add_report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run or study, or several to compare")
    parser.add_argument(
        "--separate", action="store_true", help="compare each run, also those that differ in the seed"
    )
    parser.add_argument(
        "--mix-protocols", action="store_true", help="compare transfer studies of different protocols"
    )
    add_flags(parser, "out", "json")


def _report(options: Namespace) -> CommandResult:
    from robossl.training.report_pages import write_page

    data = write_page(options.runs, options.out, options.separate, options.mix_protocols)
    return CommandResult(data["text"], data)


COMMANDS = [
    Command(
        "play",
        "record or show an agent or a policy",
        "robossl play runs/reacher --video reacher.mp4",
        _add_play_arguments,
        _play,
        env="path",
    ),
    Command(
        "imagine",
        "record a video of an imagined rollout beside the real one",
        "robossl imagine runs/reacher",
        _add_imagine_arguments,
        _imagine,
        env="env",
    ),
    Command(
        "report",
        "write one page for a run, or for several runs to compare",
        "robossl report runs/reacher runs/reacher-2 --out compared",
        _add_report_arguments,
        _report,
    ),
]
