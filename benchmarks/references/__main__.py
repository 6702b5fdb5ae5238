"""Returns of zero actions, random actions and a reference: `python -m benchmarks.references [--task NAME ...]`.

All three run the same episodes. Means have 95 % bootstrap intervals. The ratio is the mean return of the reference
over the better of the other two. `--write PAGE` updates the table in a Markdown page, and the copy of its returns that
`robossl transfer` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.statistics import mean_ci, proportion_ci

from .episodes import (
    ControllerFactory,
    RandomController,
    ZeroActionController,
    find_reference,
    load_references,
    run_episodes,
)
from .results_table import format_row, update_package_data, update_table

_SEED = 0
_PACKAGE_DATA = Path(__file__).parent.parent.parent / "robossl" / "study" / "references.json"


def main() -> int:
    """Measure the tasks, print the result and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.references", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--task", nargs="+", metavar="NAME", help="task names such as Reacher (default: all)")
    parser.add_argument(
        "--episodes", type=int, default=20, metavar="N", help="episodes of each controller (20)"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="simulator threads (all CPUs)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="update the table in this Markdown page")
    args = parser.parse_args()
    try:
        factories = {task: find_reference(task) for task in args.task or load_references()}
        rows = {}
        for task, factory in factories.items():
            rows[task] = measure_task(task, factory, args.episodes, args.threads)
            if args.write is not None:
                update_table(args.write, {task: rows[task]})
                update_package_data(args.write, _PACKAGE_DATA)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(rows, indent=2))
    return 0


def measure_task(task: str, factory: ControllerFactory, episodes: int, threads: int) -> dict[str, Any]:
    """Return the three returns of a task with their intervals, and print them to stderr."""
    row: dict[str, Any] = {}
    start = time.monotonic()
    factories = {"zero_action": ZeroActionController, "random": RandomController, "reference": factory}
    for name, make_controller in factories.items():
        result = run_episodes(task, make_controller, episodes, _SEED, threads)
        success = proportion_ci(int(result.success.sum()), episodes)
        row[name] = {"return": mean_ci(result.returns), "success": success}
    row["ratio"] = reference_ratio(row)
    print(format_row(task, row), f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return row


def reference_ratio(row: dict[str, Any]) -> float:
    """Return the reference's mean return over the better of zero and random actions."""
    baseline = max(row[name]["return"]["mean"] for name in ("zero_action", "random"))
    return row["reference"]["return"]["mean"] / max(baseline, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
