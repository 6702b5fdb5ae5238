"""Metrics of the default run: `robossl learn` with several seeds, one after the other, and their medians.

    python -m benchmarks.learn --seeds 0 1 2 --out runs/seeds

Other arguments are passed to `robossl learn`. A seed whose report is there is not run again. Prints one JSON
document: each metric for every seed and its median over the seeds that have it, the thresholds, and the wall-clock
time of every phase. Run it on an idle machine: 8 to 10 minutes a seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

THRESHOLDS = {  # metric -> smallest accepted median over the seeds
    "prediction_skill_10": 0.95,
    "inverse_r2": 0.98,
    "probe_worst_r2": 0.9,
    "goals_reached_any_25": 0.8,
    "planning_time_ratio": 30,
}
_CRITERIA = ("reached_any", "reached_final", "sustained")
_BOUNDS = {"": "mean", "_low": "low", "_high": "high"}


def metrics_of(report: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of one run by name."""
    model = report["world_model"]
    metrics = {
        "prediction_skill_10": model["prediction_skill"]["10"]["mean"],
        "probe_worst_r2": min(model["probe_r2"].values()),
    }
    if "inverse_r2" in model:  # not of Discrete actions
        metrics["inverse_r2"] = model["inverse_r2"]["mean"]
    for name, row in report.get("goal_reaching", {}).get("rows", {}).items():
        prefix = "goals" if name == "planner" else f"goals_{name}"
        for horizon, results in row.items():
            metrics |= {f"{prefix}_{key}_{horizon}": results[key]["mean"] for key in _CRITERIA}
    for name, row in report.get("control", {}).get("rows", {}).items():
        metrics |= {f"return_{name}{end}": row["return"][key] for end, key in _BOUNDS.items()}
        if "success" in row:
            metrics[f"success_{name}"] = row["success"]["mean"]
        metrics[f"ms_{name}"] = row["ms_per_decision"]
    if "ms_inverse_policy" in metrics:
        metrics["planning_time_ratio"] = metrics["ms_planner"] / metrics["ms_inverse_policy"]
    return metrics


def main() -> None:
    """Run the seeds and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    options, rest = parser.parse_known_args()
    runs: dict[int, dict[str, float]] = {}
    for seed in options.seeds:
        out = options.out / str(seed)
        command = [sys.executable, "-m", "robossl.cli.main", "learn"]
        path = out / "report.json"
        if not path.is_file():
            code = subprocess.run(
                [*command, "--seed", str(seed), "--out", str(out), *rest], check=False, stdout=sys.stderr
            ).returncode
            if code:
                sys.exit(code)  # the command has printed the reason
        report = json.loads(path.read_text())
        seconds = {f"seconds_{phase}": value for phase, value in report["seconds"].items()}
        runs[seed] = {**metrics_of(report), "seconds_all": sum(seconds.values()), **seconds}
    # a seed lacks metrics that its settings leave out, such as goal reaching with `--goals.trials 0`
    names = dict.fromkeys(name for run in runs.values() for name in run)
    median = {name: statistics.median(run[name] for run in runs.values() if name in run) for name in names}
    thresholds = {
        name: {"median": median[name], "threshold": threshold, "met": median[name] >= threshold}
        for name, threshold in THRESHOLDS.items()
        if name in median
    }
    print(
        json.dumps(
            {"seeds": options.seeds, "thresholds": thresholds, "median": median, "runs": runs}, indent=2
        )
    )


if __name__ == "__main__":
    main()
