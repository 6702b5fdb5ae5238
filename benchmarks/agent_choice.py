"""Which agent learns fastest after exploration: `python -m benchmarks.agent_choice --runs RUN ...`.

Each RUN is a run of `robossl learn`: its world model is given to the agents that take one, and its seed is theirs. All
agents take the last of `--points` env steps with reward, and `--updates-per-step` gradient steps for each. Returns are
measured on the same held-out episodes at each point. `offline-td3` takes no env steps: it learns from the rewards of
the explored stream, with as many gradient steps. One JSON file for each row and seed is written into `--out`; finished
ones are skipped.

    robossl learn --seeds 0 1 2 --agent.num_iterations 0 --explore.steps 48_000 --out runs/explored
    python -m benchmarks.agent_choice --runs runs/explored/seed-0 runs/explored/seed-1 runs/explored/seed-2
    python -m benchmarks.agent_choice --report runs/agent_choice --markdown
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode

from benchmarks.cells import Cell, estimate_over_seeds, read_cells
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, result_of, run_parts
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.control import evaluate_returns
from robossl.streams import Recorder, Stream
from robossl.training import output_dirs
from robossl.training.agent_runner import AgentRunner
from robossl.world_model import WorldModel

_NUM_ENVS = 8
ROWS: dict[
    str, tuple[str, bool, dict[str, Any]]
] = {  # row -> agent, whether it gets the world model, settings
    "sac, observation": ("sac", False, {}),
    "sac, latent_observation": ("sac", True, {}),
    "imagination-sac": ("imagination-sac", True, {}),
    "mpc": ("mpc", True, {}),
    "self-predictive": ("self-predictive", False, {"learning_starts": 2000}),  # of 10,000, its default
    "offline-td3": ("offline-td3", False, {}),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add(
        "--runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of runs of robossl learn, of different seeds",
    )
    add("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    add("--points", type=int, nargs="+", default=[4000, 8000, 16_000], metavar="N", help="[env steps]")
    add("--updates-per-step", type=float, default=0.25, metavar="X")
    add("--episodes", type=int, default=20, metavar="N")
    add("--out", type=Path, default=Path("runs/agent_choice"), metavar="FOLDER")
    add_engine_flags(parser)
    add("--report", type=Path, metavar="PATH", help="print the results of a folder, or of a JSON file")
    add("--markdown", action="store_true", help="print a table")
    options = parser.parse_args()
    if options.report is None:
        if options.runs is None:
            raise UsageError("expected --runs RUN ..., or --report PATH, got neither")
        runs = {config_of(run)["seed"]: str(run) for run in options.runs}
        if len(runs) < len(options.runs):
            raise UsageError(
                f"expected runs of different seeds, got {len(options.runs)} runs of {sorted(runs)}"
            )
        parts = [Part("measure_row", (row, seed, run)) for seed, run in runs.items() for row in options.rows]
        run_parts("benchmarks.agent_choice", parts, options, options.out, ("rows",))
    cells = read_cells(options.report or options.out)
    print(table(cells) if options.markdown else json.dumps({"cells": cells}, indent=1))


def config_of(run: Path) -> dict[str, Any]:
    """Return the config of a run."""
    output_dirs.read_manifest(run, "run")
    return tomllib.loads((run / "config.toml").read_text())


def measure_row(options: argparse.Namespace, row: str, seed: int, run: str) -> None:
    """Measure an agent, unless it was measured before."""
    name = f"{row.replace(', ', '-')}-{seed}"
    result_of(options.out, name, lambda: measure(options, row, seed, Path(run)))


def measure(options: argparse.Namespace, row: str, seed: int, run: Path) -> Cell:
    """Return the returns of one agent at each point."""
    name, with_model, settings = ROWS[row]
    env = config_of(run)["env"]
    model = WorldModel.load(run / "model", "cpu").frozen_copy() if with_model else None
    envs = registry.make_envs(env, _NUM_ENVS, threads=1, autoreset_mode=AutoresetMode.DISABLED)
    cell: Cell = {"row": row, "env": env, "seed": seed, "updates_per_step": options.updates_per_step}
    returns: dict[str, list[float]] = {}
    success: dict[str, float | None] = {}
    seconds, done = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        offline = name == "offline-td3"
        stream = Stream.open(run / "stream") if offline else None
        if not offline:
            settings = {**settings, "updates_per_step": options.updates_per_step}
        runner = AgentRunner(
            name, Recorder.create(envs, Path(folder) / "stream"), seed, model, "cpu", stream, **settings
        )
        for point in sorted(options.points):
            start = time.process_time()
            if offline:
                runner.agent.learn_offline(int((point - done) * options.updates_per_step))  # type: ignore[attr-defined]
            else:
                runner.learn(point - done)
            seconds, done = seconds + time.process_time() - start, point
            returns[str(point)], success[str(point)] = evaluate(env, runner.agent, options.episodes)
        runner.close()
    return {**cell, "cpu_seconds": round(seconds, 1), "returns": returns, "success": success}


def evaluate(env: str, policy: Policy, episodes: int) -> tuple[list[float], float | None]:
    """Return the return of each held-out episode, and the rate of success at their ends."""
    envs = registry.make_envs(env, episodes, threads=1)
    found = evaluate_returns(envs, policy, episodes, EVALUATION_SEED)
    envs.close()
    rate = None if found.successes is None else float(found.successes.mean())
    return found.returns.round(2).tolist(), rate


def table(cells: list[Cell]) -> str:
    """Return the returns by env steps as Markdown."""
    points = sorted({int(point) for cell in cells for point in cell["returns"]})
    lines = [
        f"| row | {' | '.join(f'{point:,} steps' for point in points)} | success at the end | CPU time [s] |",
        f"| --- |{' --- |' * (len(points) + 2)}",
    ]
    for row in [name for name in ROWS if any(cell["row"] == name for cell in cells)]:
        chosen = [cell for cell in cells if cell["row"] == row]
        texts = []
        for point in points:
            value = estimate_over_seeds([cell["returns"][str(point)] for cell in chosen])
            texts.append(f"{value['mean']:.0f} [{value['low']:.0f}, {value['high']:.0f}]")
        rates = ", ".join(f"{100 * cell['success'][str(points[-1])]:.0f} %" for cell in chosen)
        lines.append(
            f"| {row} | {' | '.join(texts)} | {rates} | {max(cell['cpu_seconds'] for cell in chosen):.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
