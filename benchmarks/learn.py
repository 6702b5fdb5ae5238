"""The figures of the default run: `robossl learn` with several seeds, one after the other, and their medians.

    python -m benchmarks.learn --seeds 0 1 2 --out runs/seeds

Arguments it does not know go to `robossl learn`. Prints one JSON document: each figure for every seed and its
median, the bars, and the seconds of every phase. Run it with nothing else running: about 5 minutes a seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BARS = {  # figure -> the least it is to be, median over the seeds
    "forward_skill_10": 0.95,
    "inverse_r2": 0.98,
    "probe_worst_r2": 0.9,
    "goals_any": 0.8,
}


def figures(report: dict[str, Any]) -> dict[str, float]:
    """The figures of one run by name."""
    world, found = report["world"], {}
    found["forward_skill_10"] = world["forward_skill"]["10"]
    found["inverse_r2"] = world.get("inverse_r2")
    found["probe_worst_r2"] = min(world["probe_r2"].values())
    for name, row in report.get("goals", {}).get("rows", {}).items():
        prefix = "goals" if name == "planner" else f"goals_{name}"
        found |= {f"{prefix}_{criterion}": row[criterion]["mean"] for criterion in ("any", "final", "held")}
    for name, row in report.get("control", {}).get("rows", {}).items():
        found |= {f"return_{name}{end}": row["return"][key] for end, key in _ENDS.items()}
        if "success" in row:
            found[f"success_{name}"] = row["success"]["mean"]
    return found


_ENDS = {"": "mean", "_low": "low", "_high": "high"}


def main() -> None:
    """Run the seeds and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    options, rest = parser.parse_known_args()
    runs: dict[int, dict[str, float]] = {}
    for seed in options.seeds:
        out = options.out / str(seed)
        words = [
            sys.executable,
            "-m",
            "robossl.cli.main",
            "learn",
            "--seed",
            str(seed),
            "--out",
            str(out),
            *rest,
        ]
        start = time.perf_counter()
        code = subprocess.run(words, check=False, stdout=sys.stderr).returncode
        if code:
            sys.exit(code)  # it has said why
        wall = time.perf_counter() - start
        report = json.loads((out / "report.json").read_text())
        seconds = {f"seconds_{phase}": value for phase, value in report["seconds"].items()}
        runs[seed] = {**figures(report), "seconds_wall": round(wall, 1), **seconds}
    median = {
        name: statistics.median(run[name] for run in runs.values()) for name in next(iter(runs.values()))
    }
    bars = {
        name: {"median": median[name], "bar": bar, "met": median[name] >= bar} for name, bar in BARS.items()
    }
    print(json.dumps({"seeds": options.seeds, "bars": bars, "median": median, "runs": runs}, indent=2))


if __name__ == "__main__":
    main()
