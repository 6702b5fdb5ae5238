"""The command `transfer`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from robossl.cli.command import Command, CommandResult, add_flags, count, name_list, specified, trust_env
from robossl.core.errors import UsageError
from robossl.core.limits import LARGEST_THREADS

_SIZES = {  # name -> help; in place of those of the budget
    "stream_steps": "env steps of the reward-free stream",
    "model_updates": "gradient steps of the world model and its baselines",
    "offline_updates": "updates of an agent that learns from the labeled stream",
    "online_steps": "env steps of an agent that learns in the env",
    "episodes": "held-out episodes of an evaluation",
    "hidden": "width of the agents' networks",
    "batch_size": "of the agents",
    "goal_trials": "start-goal pairs at each distance; 0: none",
}
_EXCLUSIVE = ("rows", "tasks", "seeds", "policies", "agent_seeds", "budget", "out", "pixels", *_SIZES)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "robot", nargs="?", metavar="ROBOT", help="a robot with several tasks, such as walker"
    )
    parser.add_argument("--budget", metavar="NAME", help="quick, standard or full (quick)")
    for name, text in (
        ("rows", "rows of the table: observation,latent,pca"),
        ("tasks", "tasks of the robot, or env ids that share observations and actions: a/A-v0,b/B-v0"),
        ("seeds", "stream seeds: 0,1,2"),
        ("policies", "exploration policies, each records an equal part of the stream: colored_noise,curious"),
    ):
        parser.add_argument(f"--{name}", nargs="+", metavar="NAME" if name != "seeds" else "N", help=text)
    parser.add_argument("--agent-seeds", type=count(1), metavar="N", help="agent seeds for each stream seed")
    parser.add_argument(
        "--resume", metavar="STUDY", help="go on with a study; the same command again does so too"
    )
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--workers", type=count(1), metavar="N", help="processes (one for each core)")
    add_flags(parser, "engine")
    parser.add_argument("--list-rows", action="store_true", help="print the rows, and those of each budget")
    for name, text in _SIZES.items():
        low = 0 if name == "goal_trials" else 1
        parser.add_argument(f"--{name.replace('_', '-')}", type=count(low), metavar="N", help=text)
    parser.add_argument(
        "--threads", type=count(0, LARGEST_THREADS), metavar="N", help="CPU threads of each process (1)"
    )
    add_flags(parser, "pixels", "out", "json", "quiet", "trust-env")


def _run(options: Namespace) -> CommandResult:
    if options.list_rows:
        return _list_rows()
    from robossl.logging.progress import make_progress
    from robossl.study.study_run import TransferRequest, run_transfer

    trust_env(options.trust_env, package=True)
    for name in ("rows", "tasks", "seeds", "policies"):
        if getattr(options, name) is not None:
            setattr(options, name, name_list(",".join(getattr(options, name))))
    for task in options.tasks or ():
        trust_env(task)
    if options.seeds is not None:
        options.seeds = tuple(map(_seed, options.seeds))
    if options.resume is not None:
        given = [f"--{name.replace('_', '-')}" for name in _EXCLUSIVE if getattr(options, name) is not None]
        given += [options.robot] if options.robot else []
        if given:
            raise UsageError(f"--resume uses the settings of the study; remove {', '.join(given)}")
    names = (
        "robot", "budget", "rows", "tasks", "seeds", "agent_seeds", "out", "workers", "threads", "pixels",
        "retry_failed", "resume", "engine", "policies",
    )  # fmt: skip
    request = TransferRequest(**specified(options, names), sizes=specified(options, tuple(_SIZES)))
    return _result(run_transfer(request, make_progress(options.quiet)))


def _seed(text: str) -> int:
    """Convert a seed of the command line."""
    if not text.isdecimal():
        raise UsageError(f"--seeds: expected whole numbers from 0, got {text!r}")
    return int(text)


def _result(report: dict[str, Any]) -> CommandResult:
    """Return the tables and the sentence of the outcome."""
    from robossl.cli.learn import report_result
    from robossl.evaluation.report.study_tables import rows_table
    from robossl.evaluation.report.table_formats import to_markdown

    result = report_result(report)
    return CommandResult("\n".join([to_markdown(rows_table(report["transfer"])), result.text]), result.data)


def _list_rows() -> CommandResult:
    """Return the rows with their kind and budgets."""
    from robossl.study.protocol import load_protocol

    protocol = load_protocol()
    rows = {
        name: {"kind": row.kind, "budgets": [b.name for b in protocol.budgets.values() if name in b.rows]}
        for name, row in protocol.rows.items()
    }
    lines = [f"{name:26} {row['kind']:12} {', '.join(row['budgets'])}" for name, row in rows.items()]
    return CommandResult("\n".join(lines), {"rows": rows})


COMMANDS = [
    Command(
        "transfer",
        "compare representations of one reward-free stream on all tasks of a robot",
        "robossl transfer walker --budget quick --out studies/walker",
        _add_arguments,
        _run,
    )
]
