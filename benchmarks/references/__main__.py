"""What each task is worth: `python -m benchmarks.references [--task NAME ...] [--json | --write PAGE]`.

Return of doing nothing, of acting at random and of a reference controller, over the same episodes, with 95 %
bootstrap intervals; the ratio is of the reference to the better of the other two.
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

from .episodes import AtRandom, DoNothing, Make, play, reference, references
from .page import into_page, row_of

_SEED = 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.references", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--task", nargs="+", metavar="NAME", help="such as Reacher (all that have a reference)"
    )
    parser.add_argument("--episodes", type=int, default=20, metavar="N", help="of each (20)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the simulator (all CPUs)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the rows into the table of that page")
    given = parser.parse_args()
    try:
        makes = {task: reference(task) for task in given.task or references()}
        rows = {}
        for task, make in makes.items():
            rows[task] = measured(task, make, given.episodes, given.threads)
            if given.write is not None:
                into_page(given.write, {task: rows[task]})
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(rows, indent=2))
    return 0


def measured(task: str, make: Make, episodes: int, threads: int) -> dict[str, Any]:
    """The three returns with their intervals, told on stderr as soon as they are known."""
    row: dict[str, Any] = {}
    for name, chosen in {"do_nothing": DoNothing, "random": AtRandom, "reference": make}.items():
        began = time.monotonic()
        played = play(task, chosen, episodes, _SEED, threads)
        success = proportion_ci(int(played.succeeded.sum()), episodes)
        row[name] = {"return": mean_ci(played.returns), "success": success}
    row["ratio"] = ratio(row)
    print(row_of(task, row), f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return row


def ratio(row: dict[str, Any]) -> float:
    """Of the reference's return to the better of the other two."""
    floor = max(row[name]["return"]["mean"] for name in ("do_nothing", "random"))
    return row["reference"]["return"]["mean"] / max(floor, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
