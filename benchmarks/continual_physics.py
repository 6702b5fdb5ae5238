"""Learning through a change of the physics: `python -m benchmarks.continual_physics --seeds 0 1 2`.

A run of `robossl learn` in which the physics of the agent's envs change half-way: by default twice the mass of the
links and four times the damping of the joints of the reacher. Model and agent keep learning. Prints prediction skill
and return before the change, just after it, after recovery, and on the old physics at the end, as JSON and as a table.
Further flags are settings: `--pretrain.updates_per_iteration 400`. With --out, finished seeds are kept and
interrupted ones are resumed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import robossl
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, run_parts
from robossl.cli.config import parse_overrides
from robossl.core.io import read_json
from robossl.core.statistics import mean_ci
from robossl.evaluation.continual import ROWS
from robossl.evaluation.report import page
from robossl.logging.progress import make_progress
from robossl.training import config_io
from robossl.training.config import LearnConfig, thread_count

_SETTINGS: dict[str, Any] = {
    "steps": 80_000, "explore.steps": 48_000, "agent.iteration_steps": 4_000, "variation.at_step": 64_000,
    "agent.rows": (), "goals.trials": 0, "goals.control": False, "goals.head_updates": 0, "evaluate.videos": False,
}  # fmt: skip
_PHYSICS = {"variation.randomization.link_mass": 2.0, "variation.randomization.joint_damping": 4.0}
_CHANGES = ("forward", "recovery", "backward")
_ROW_NAMES = {
    "before": "old physics, before the change",
    "just_after": "new physics, just after it",
    "recovered": "new physics, at the end",
    "old_again": "old physics, at the end",
}


def main() -> None:
    """Run all seeds and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the runs (default: a temporary one)"
    )
    add_engine_flags(parser)
    options, arguments = parser.parse_known_args()
    settings = parse_overrides(arguments, LearnConfig)
    physics = {} if any(name.startswith("variation.randomization.") for name in settings) else _PHYSICS
    options.settings = {**_SETTINGS, **physics, **settings, "env": options.env}
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = str(options.out or temporary)
        parts = [Part("run_seed", (seed,)) for seed in options.seeds]
        threads = thread_count(int(settings.get("threads", 0)))
        run_parts(
            "benchmarks.continual_physics", parts, options, Path(options.folder), ("seeds", "folder"), threads
        )  # fmt: skip
        sections = {
            seed: read_json(Path(options.folder) / f"seed-{seed}" / "report.json")["continual"]
            for seed in options.seeds
        }
    result = summary(sections)
    print(json.dumps({"env": options.env, **result}, indent=2))
    print(table(result))


def run_seed(options: argparse.Namespace, seed: int) -> None:
    """Run one seed, or resume it; a finished run ends at once."""
    folder = Path(options.folder) / f"seed-{seed}"
    if (folder / page.NAME).is_file():  # written last
        return
    if (folder / "config.toml").is_file():
        robossl.learn(resume=folder, progress=make_progress())
    else:
        config = config_io.parse(LearnConfig, ("the benchmark", {**options.settings, "seed": seed}))
        robossl.learn(config, folder, progress=make_progress())


def summary(sections: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over the seeds with intervals, and the section of each seed."""

    def over_seeds(*path: str) -> dict[str, Any]:
        values = []
        for section in sections.values():
            value: Any = section
            for key in path:
                value = value[key]
            values.append(value)
        return dict(mean_ci(np.array(values)))

    first = next(iter(sections.values()))
    return {
        "randomization": first["randomization"],
        "horizon": first["horizon"],
        "seeds": list(sections),
        "rows": {
            row: {key: over_seeds("rows", row, key, "mean") for key in ("skill", "return")} for row in ROWS
        },
        "transfer": {
            name: {key: over_seeds("transfer", name, key, "mean") for key in ("skill", "return")}
            for name in _CHANGES
        },
        "baselines": {
            physics: {name: over_seeds("baselines", physics, name, "mean") for name in ("linear", "random")}
            for physics in ("old", "new")
        },
        "by_seed": {str(seed): dict(section) for seed, section in sections.items()},
    }


def table(result: Mapping[str, Any]) -> str:
    """Return the means as a Markdown table."""

    def cell(estimate: Mapping[str, float]) -> str:
        digits = 3 if abs(estimate["mean"]) < 10 else 1
        mean = f"{estimate['mean']:.{digits}f}"
        if estimate["n"] == 1:  # of seeds
            return mean
        return f"{mean} [{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]"

    lines = [f"| physics and moment | skill, {result['horizon']} steps | return |", "| --- | --- | --- |"]
    for row, name in _ROW_NAMES.items():
        lines.append(
            f"| {name} | {cell(result['rows'][row]['skill'])} | {cell(result['rows'][row]['return'])} |"
        )
    for physics, name in (("old", "old physics"), ("new", "new physics")):
        entry = result["baselines"][physics]
        lines.append(
            f"| linear dynamics, random actions; {name} | {cell(entry['linear'])} | {cell(entry['random'])} |"
        )
    for name in _CHANGES:
        entry = result["transfer"][name]
        lines.append(f"| {name} | {cell(entry['skill'])} | {cell(entry['return'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
