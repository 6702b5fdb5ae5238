"""The command `sweep`."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace

from robossl.cli.command import Command, CommandResult, add_flags, count, specified, trust_env
from robossl.core.errors import UsageError


def _share(text: str) -> float:
    """Convert a number of GPUs: 0.5, 1, 2."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="SWEEP.toml", help="command, settings and axes of the cells; see docs/scale.md"
    )
    parser.add_argument(
        "--workers", type=count(1), metavar="N", help="cells at the same time (as many as fit)"
    )
    parser.add_argument(
        "--cpus-per-cell", type=count(1), metavar="N", help="CPU threads of each cell (1, or as it began)"
    )
    parser.add_argument(
        "--gpus-per-cell", type=_share, metavar="X", help="GPUs of each cell; 0.5: two cells share one (0)"
    )
    parser.add_argument(
        "--cell",
        type=count(0),
        metavar="I",
        help="run this cell only, as a job of a cluster does: see --list",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the cells with their state, and run nothing"
    )
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    add_flags(parser, "engine", "out", "json", "quiet", "trust-env")


def _run(options: Namespace) -> CommandResult:
    from robossl.logging.progress import make_progress
    from robossl.sweeps.sweep_run import SweepRequest, list_cells, run_sweep
    from robossl.sweeps.sweep_summary import summary_path, summary_text

    trust_env(options.trust_env, package=True)
    names = ("out", "engine", "workers", "cpus_per_cell", "gpus_per_cell", "cell", "retry_failed")
    trusted = () if options.trust_env is None else (options.trust_env,)
    request = SweepRequest(options.file, **specified(options, names), trusted=trusted)
    if options.list:
        if options.cell is not None:
            raise UsageError("--list and --cell: expected one of them, got both")
        cells = list_cells(request)
        lines = [f"{cell['index']:5} {cell['state']:9} {cell['name']}" for cell in cells]
        return CommandResult("\n".join(lines), {"cells": cells})
    from pathlib import Path

    summary = run_sweep(request, make_progress(options.quiet))
    text = f"{summary_text(summary)}\n{summary_path(Path(summary['folder'])).resolve()}"
    if options.cell is not None:
        text = f"cell {options.cell} ({summary['cell']}) is finished; {summary['cells']['left']} cells left"
    return CommandResult(text, summary, int(summary["cells"]["failed"] > 0 and options.cell is None))


COMMANDS = [
    Command(
        "sweep",
        "run a grid of cells: one command with several seeds, tasks or settings, here or on a cluster",
        "robossl sweep sweep.toml --workers 4 --out sweeps/reacher",
        _add_arguments,
        _run,
    )
]
