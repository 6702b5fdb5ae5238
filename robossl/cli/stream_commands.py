"""The commands `stream info`, `validate`, `relabel`, `export` and `import`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli.command import Command, CommandResult, add_flags, specified, trust_env
from robossl.core.errors import UsageError

_FORMAT: dict[str, Any] = {"choices": ["minari", "lerobot"], "required": True}


def _add_info_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    add_flags(parser, "json")


def _info(options: Namespace) -> CommandResult:
    from robossl.cli.formatting import format_stream
    from robossl.streams import describe_stream

    data = describe_stream(options.stream)
    return CommandResult(format_stream(data), data)


def _add_validate_arguments(parser: ArgumentParser) -> None:
    _add_info_arguments(parser)
    parser.add_argument("--repair", action="store_true", help="set damaged chunks aside and keep the rest")
    parser.add_argument("--undo", action="store_true", help="undo earlier repairs: give their files back")


def _validate(options: Namespace) -> CommandResult:
    from robossl.cli.formatting import format_validation
    from robossl.streams import validate_stream

    data = validate_stream(options.stream, repair=options.repair, undo=options.undo)
    return CommandResult(format_validation(data), data, 0 if data["ok"] else 1)


def _add_relabel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    parser.add_argument(
        "--task",
        metavar="ENV",
        required=True,
        help="env whose reward, termination, success and goals to write",
    )
    add_flags(parser, "out", "seed", "threads", "json", "quiet")


def _relabel(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.training.relabeling import relabel_recorded
    from robossl.training.requests import RelabelRequest

    trust_env(options.task)
    request = RelabelRequest(options.stream, options.task, **specified(options, ("out", "seed", "threads")))
    stream, summary = relabel_recorded(request, make_progress(options.quiet))
    data = {"path": str(stream.path), "task": options.task, **summary.to_json()}
    lines = [f"{summary.transitions:,} transitions, mean reward {data['reward_mean']:.4g}"]
    if data["success_mean"] is not None:
        lines[0] += f", {data['success_mean']:.2%} of them a success"
    if summary.terminations:
        lines.append(
            f"{summary.terminations:,} terminations, {summary.dropped_rows:,} later time steps left out"
        )
    return CommandResult("\n".join([*lines, data["path"]]), data)


def _add_export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    parser.add_argument("--to", **_FORMAT, help="format to write")
    parser.add_argument(
        "--images",
        choices=["video", "png"],
        default="video",
        help="how LeRobot stores images: video is small and slightly lossy, png is lossless (video)",
    )
    add_flags(parser, "out", "json", "quiet")


def _export(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.streams.formats import export_stream

    out = _required_out(options)
    return _exchange_result(
        export_stream(options.stream, options.to, out, options.images, make_progress(options.quiet))
    )


def _add_import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="PATH_OR_ID", help="a dataset folder, or the id of a local Minari dataset"
    )
    parser.add_argument("--from", dest="source_format", **_FORMAT, help="format to read")
    add_flags(parser, "out", "json", "quiet")


def _import(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.streams.formats import import_stream

    out = _required_out(options)
    return _exchange_result(
        import_stream(options.source, options.source_format, out, make_progress(options.quiet))
    )


def _required_out(options: Namespace) -> str:
    if options.out is None:
        raise UsageError("--out is required: the output folder")
    return options.out


def _exchange_result(data: dict[str, Any]) -> CommandResult:
    """Return what was converted, and what the other format cannot hold."""
    losses = [f"not kept: {text}" for text in data["losses"]] or ["nothing is lost"]
    first = f"{data['rows']:,} time steps, {data['episodes']:,} episodes"
    return CommandResult("\n".join([first, *losses, data["path"]]), data)


COMMANDS = [
    Command(
        "stream info",
        "print a summary of a stream",
        "robossl stream info streams/reacher",
        _add_info_arguments,
        _info,
    ),
    Command(
        "stream validate",
        "find damaged chunks, and set them aside",
        "robossl stream validate streams/reacher --repair",
        _add_validate_arguments,
        _validate,
    ),
    Command(
        "stream relabel",
        "write a stream again with the reward of another task of its robot",
        "robossl stream relabel streams/walker --task robossl/WalkerRun-v0 --out streams/walker-run",
        _add_relabel_arguments,
        _relabel,
        env="task",
    ),
    Command(
        "stream export",
        "write a stream as a Minari or LeRobot dataset",
        "robossl stream export streams/reacher --to minari --out reacher-v0",
        _add_export_arguments,
        _export,
    ),
    Command(
        "stream import",
        "read a Minari or LeRobot dataset as a stream",
        "robossl stream import reacher-v0 --from minari --out streams/reacher-again",
        _add_import_arguments,
        _import,
    ),
]
