"""The command line: one command, its verbs, and one line for every mistake."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from robossl.core.errors import OperationError, UsageError, unknown_name_error

_DESCRIPTION = """\
Give robossl a robot: it explores by itself, learns its world without reward, reaches goals in it,
learns to act on what it learned, and reports how far that carries."""


@dataclass(frozen=True)
class Command:
    """One verb: what it does, how it is called, who carries it out."""

    name: str  # "learn", or "stream show"
    help: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    overrides: bool = False  # takes --dotted.keys of its config as well


class _Parser(argparse.ArgumentParser):
    """argparse that answers a mistake in one line."""

    @property
    def option_strings(self) -> list[str]:
        """The flags it knows."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.replace('argument ', '')}; see {self.prog} --help")


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; expected {least} or more")
        return value

    return count


_FLAGS: dict[str, dict[str, Any]] = {
    "out": {"metavar": "DIR", "help": "where to write; never over something else"},
    "seed": {"type": _count(0), "metavar": "N", "help": "what decides every random thing (0)"},
    "steps": {"type": _count(1), "metavar": "N", "help": "environment steps, all lanes together"},
    "updates": {"type": _count(1), "metavar": "N", "help": "gradient steps"},
    "num-envs": {"type": _count(1), "metavar": "N", "help": "environments at once"},
    "threads": {"type": _count(0), "metavar": "N", "help": "CPU threads; 0 for all cores, at most 8"},
    "episodes": {"type": _count(1), "metavar": "N", "help": "held-out episodes"},
    "device": {"choices": ["auto", "cpu", "cuda", "mps"], "help": "where networks run (auto)"},
    "config": {"metavar": "FILE.toml", "help": "settings from a file; flags go over them"},
    "json": {"action": "store_true", "help": "the result as JSON on stdout, progress on stderr"},
    "quiet": {"action": "store_true", "help": "no progress"},
}


def flags(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add flags that mean the same in every verb."""
    for name in names:
        parser.add_argument(f"--{name}", **_FLAGS[name])


def _learn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", help="a Gymnasium id (robossl/Reacher-v0)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run after any end")
    flags(
        parser, "steps", "updates", "num-envs", "threads", "device", "seed", "config", "out", "json", "quiet"
    )


def _envs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", metavar="TEXT", help="only ids that contain this")
    parser.add_argument("--all", action="store_true", help="every id Gymnasium knows, not only ours")
    flags(parser, "json")


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", help="a Gymnasium id (package:id imports the package first), or an MJCF file")
    flags(parser, "json", "quiet")


def _doctor(parser: argparse.ArgumentParser) -> None:
    flags(parser, "json", "quiet")


def _collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", help="a Gymnasium id")
    parser.add_argument("--policy", default="colored_noise", help="random, colored_noise, zero, or a run (colored_noise)")
    flags(parser, "steps", "num-envs", "threads", "seed", "out", "json", "quiet")


def _pretrain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="also upload the model to the Hugging Face Hub")
    flags(parser, "updates", "threads", "device", "seed", "config", "out", "json", "quiet")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", help="a Gymnasium id")
    parser.add_argument("--agent", default="auto", help="auto, sac, td3, ppo, dqn (auto)")
    parser.add_argument(
        "--representation", default="raw", metavar="MODEL|raw|random", help="what it sees (raw)"
    )
    parser.add_argument("--mode", default="frozen", help="what happens to the encoder: frozen (frozen)")
    parser.add_argument("--export-sb3", metavar="FILE", help="also write an SB3 zip for other tools")
    flags(parser, "steps", "num-envs", "threads", "device", "seed", "out", "json", "quiet")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN_OR_MODEL", help="a run, model or agent folder")
    parser.add_argument("--stream", metavar="STREAM", help="the stream to measure a model on")
    parser.add_argument("--goal-trials", type=_count(1), default=100, metavar="N", help="start-goal pairs (100)")
    parser.add_argument("--goal-horizon", type=_count(1), default=25, metavar="N", help="steps a goal is away (25)")
    parser.add_argument("--no-videos", action="store_true", help="numbers only")
    parser.add_argument(
        "--ablate", action="store_true", help="learn it anew with other objectives, and compare"
    )
    flags(parser, "updates", "episodes", "threads", "device", "seed", "out", "json", "quiet")


def _play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN_OR_ENV", help="a run or agent folder, or a Gymnasium id")
    parser.add_argument("--policy", default="random", help="who acts in an env: random, colored_noise, zero (random)")
    parser.add_argument("--video", metavar="FILE.mp4", help="write a video; needs no display")
    parser.add_argument("--viewer", action="store_true", help="watch in a window")
    flags(parser, "episodes", "seed", "json", "quiet")


def _imagine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", help="a run or model folder")
    parser.add_argument(
        "--stream", metavar="STREAM", help="where the dream starts from (what the model learned from)"
    )
    parser.add_argument("--video", metavar="FILE.mp4", help="where to write it (RUN/imagination.mp4)")
    parser.add_argument("--horizon", type=_count(2), default=100, metavar="N", help="steps to imagine (100)")
    flags(parser, "seed", "json", "quiet")


def _stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    flags(parser, "json")


def _validate(parser: argparse.ArgumentParser) -> None:
    _stream(parser)
    parser.add_argument("--repair", action="store_true", help="set damaged chunks aside, keep the rest")


_EXCHANGE: dict[str, Any] = {"choices": ["minari", "lerobot"], "required": True}


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    parser.add_argument("--to", **_EXCHANGE, help="the format to write")
    parser.add_argument("--images", choices=["video", "png"], default="video",
                        help="how LeRobot keeps pictures: small and a little lossy, or every bit (video)")  # fmt: skip
    flags(parser, "out", "json", "quiet")


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="PATH_OR_ID", help="a data set's folder, or a name Minari has here")
    parser.add_argument("--from", dest="origin", **_EXCHANGE, help="the format it has")
    flags(parser, "out", "json", "quiet")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="one run, or several to compare")
    flags(parser, "out", "json")


VERBS = [
    Command("learn", "explore, learn the world, learn to act, evaluate, in rounds",
         "robossl learn robossl/CartPoleSwingUp-v0 --steps 80_000 --world_model.latent_dim 32", _learn, overrides=True),
    Command("envs", "the environments there are", "robossl envs --filter Reacher", _envs),
    Command("check", "every check on one environment, with its reason and mend", "robossl check Pendulum-v1", _check),
    Command("doctor", "this machine: versions, devices, rendering", "robossl doctor", _doctor),
    Command("collect", "a stream from a policy",
         "robossl collect robossl/Reacher-v0 --policy colored_noise --steps 50_000 --out streams/reacher", _collect),
    Command("pretrain", "a world model from a stream, without reward",
         "robossl pretrain streams/reacher --updates 2000 --out models/reacher", _pretrain, overrides=True),
    Command("train", "an agent on a representation",
         "robossl train robossl/Reacher-v0 --agent sac --representation models/reacher --steps 20_000", _train),
    Command("evaluate", "the evaluation protocol, as report.json and report.html",
         "robossl evaluate models/reacher --stream streams/reacher", _evaluate),
    Command("play", "watch a run or an environment", "robossl play runs/reacher --video reacher.mp4", _play),
    Command("imagine", "the model's imagination beside reality, as a video", "robossl imagine runs/reacher", _imagine),
    Command("stream info", "what a stream holds", "robossl stream info streams/reacher", _stream),
    Command("stream validate", "find and set aside damaged chunks",
         "robossl stream validate streams/reacher --repair", _validate),
    Command("stream export", "write a stream as a Minari or LeRobot data set",
         "robossl stream export streams/reacher --to minari --out reacher-v0", _export),
    Command("stream import", "read a Minari or LeRobot data set as a stream",
         "robossl stream import reacher-v0 --from minari --out streams/reacher-again", _import),
    Command("report", "one page for a run, or several compared",
         "robossl report runs/reacher runs/reacher-2 --out compared", _report),
]  # fmt: skip


def _overview() -> str:
    rows = "\n".join(f"  {verb.name:16} {verb.help}" for verb in VERBS)
    return (
        f"usage: robossl VERB ...\n\n{_DESCRIPTION}\n\n{rows}\n\n"
        "robossl VERB --help tells more. The main job:\n  robossl learn"
    )


def _find(words: list[str]) -> tuple[Command, list[str]]:
    """The verb at the start of the words, and the words after it."""
    names = {verb.name: verb for verb in VERBS}
    if words[0] == "stream":
        parts = [name.split()[1] for name in names if name.startswith("stream ")]
        if len(words) < 2 or words[1].startswith("-"):
            raise UsageError(f"robossl stream wants one of: {', '.join(parts)}")
        if words[1] not in parts:
            raise unknown_name_error("stream verb", words[1], parts)
        return names[f"stream {words[1]}"], words[2:]
    if words[0] not in names:
        raise unknown_name_error("verb", words[0], [name for name in names if " " not in name] + ["stream"])
    return names[words[0]], words[1:]


def _parser(verb: Command) -> _Parser:
    epilog = f"example:\n  {verb.example}"
    if verb.overrides:
        epilog += "\n\n" + importlib.import_module("robossl.cli.commands").config_help(verb.name)
    parser = _Parser(
        prog=f"robossl {verb.name}",
        description=verb.help[0].upper() + verb.help[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    words = list(words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"robossl {importlib.import_module('importlib.metadata').version('robossl')}")
        return 0
    verb, rest = _find(words)
    parser = _parser(verb)
    settings: list[str] = []
    if verb.overrides and not {"-h", "--help"} & set(rest):
        rest, settings = importlib.import_module("robossl.cli.config").split_args(
            rest, set(parser.option_strings)
        )
    options = parser.parse_args(rest)
    options.overrides = settings
    function = getattr(importlib.import_module("robossl.cli.commands"), verb.name.replace(" ", "_"))
    result = function(options)
    if getattr(options, "json", False):
        print(json.dumps(result.data, allow_nan=False))
    elif result.text:
        print(result.text)
    return result.code


def main() -> NoReturn:
    """The `robossl` command. 0 done; 1 the work failed; 2 the request was wrong; 130 interrupted, state saved."""
    with contextlib.suppress(OSError):  # a working folder that was removed
        sys.path.append(
            os.getcwd()
        )  # my_env:MyEnv-v0 is found beside my_env.py; last, so that it hides nothing
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        print(f"robossl: {error}", file=sys.stderr)
        code = 2
    except OperationError as error:
        print(f"robossl: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt as interruption:
        words = str(interruption) or "interrupted"
        print(f"\nrobossl: {words}", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
