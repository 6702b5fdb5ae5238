"""Stacked training against one agent after the other: `python -m benchmarks.one_stream --speed`.

Tasks, rows and seeds are compared by `robossl transfer ROBOT` (docs/transfer.md). `--report FILE` prints the table of
results that were measured before there was this command.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from robossl.agents.offline_td3 import OfflineTd3Agent

import robossl
from benchmarks.cells import Cell, env_id, estimate_over_seeds, read_cells
from benchmarks.cli import run_main
from robossl import registry
from robossl.core.statistics import paired_difference
from robossl.streams import Recorder, Stream
from robossl.study.protocol import reference_returns

TASK = "WalkerStand"
_STREAM_STEPS = 20_000
_AGENTS, _UPDATES, _TURNS = 8, 12, 5
_BASELINE = "observation"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--speed", action="store_true", help="measure stacked training against one agent after the other")
    add("--batch-size", type=int, default=256, metavar="N", help="of the agents (256)")
    add("--hidden", type=int, default=256, metavar="N", help="width of the agents' networks (256)")
    add("--threads", type=int, default=1, metavar="N", help="of torch (1)")
    add("--report", type=Path, metavar="FILE", help="print the results in a JSON file")
    add("--markdown", action="store_true", help="print a table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.report is not None:
        cells = read_cells(options.report)
        print(table(cells) if options.markdown else json.dumps(summary(cells), indent=1))
    elif options.speed:
        print(json.dumps(measure_speed(options), indent=1))
    else:
        parser.error("expected --speed or --report FILE; tasks and rows: robossl transfer walker")


# --- speed


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Return updates per second of 8 agents alone and stacked, in turns, with the ratio of each turn."""
    turns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        robossl.collect(
            env_id(TASK), steps=_STREAM_STEPS, out=Path(folder) / "stream", num_envs=64, threads=1
        ).close()
        agents = [make_agent(options, seed, Path(folder)) for seed in range(_AGENTS)]
        OfflineTd3Agent.learn_offline_stacked(agents, 2)
        for _ in range(_TURNS):
            turn = {}
            for name in ("alone", "stacked"):
                start = time.perf_counter(), time.process_time()
                if name == "stacked":
                    OfflineTd3Agent.learn_offline_stacked(agents, _UPDATES)
                else:
                    for agent in agents:
                        agent.learn_offline(_UPDATES)
                turn[f"{name}_wall"] = _AGENTS * _UPDATES / (time.perf_counter() - start[0])
                turn[f"{name}_cpu"] = _AGENTS * _UPDATES / (time.process_time() - start[1])
            turns.append(turn)
    median = {name: float(np.median([turn[name] for turn in turns])) for name in turns[0]}
    ratio = {
        clock: float(np.median([turn[f"stacked_{clock}"] / turn[f"alone_{clock}"] for turn in turns]))
        for clock in ("wall", "cpu")
    }
    return {"updates_per_second": median, "ratio": ratio, "threads": torch.get_num_threads(), "turns": turns}


def make_agent(options: argparse.Namespace, seed: int, folder: Path) -> OfflineTd3Agent:
    """Return an agent on the recorded stream."""
    settings = {"batch_size": options.batch_size, "policy_kwargs": {"net_arch": [options.hidden] * 2}}
    envs = registry.make_envs(env_id(TASK), 1, threads=1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, folder / f"agent-{seed}")
    return OfflineTd3Agent(recorder, None, seed, "cpu", stream=Stream.open(folder / "stream"), **settings)


# --- results in a file


def summary(cells: list[Cell]) -> dict[str, Any]:
    """Return the normalized return by row and task, and the differences to the observation row.

    Intervals resample whole seeds; with one seed, its episodes.
    """
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for cell in cells:
        bounds = reference_returns()[env_id(cell["task"])]
        values = (np.array(cell["returns"]) - bounds["random"]) / (bounds["reference"] - bounds["random"])
        scores.setdefault(cell["row"], {}).setdefault(cell["task"], {})[cell["seed"]] = values
    report = {}
    for row, by_task in scores.items():
        baseline = scores.get(_BASELINE, {})
        gains = [
            (values.mean(), baseline[task][seed].mean())
            for task, by_seed in by_task.items()
            for seed, values in by_seed.items()
            if row != _BASELINE and seed in baseline.get(task, {})
        ]
        report[row] = {
            "tasks": {task: estimate_over_seeds(list(by_seed.values())) for task, by_seed in by_task.items()},
            "difference_to_observation": paired_difference(*np.array(gains).T) if gains else None,
        }
    return report


def table(cells: list[Cell]) -> str:
    """Return a Markdown table of normalized returns."""
    report = summary(cells)
    tasks = list(dict.fromkeys(task for row in report.values() for task in row["tasks"]))
    lines = [f"| row | {' | '.join(tasks)} |", "| --- |" + " --- |" * len(tasks)]
    for name, row in report.items():
        texts = [estimate_text(row["tasks"][task]) if task in row["tasks"] else "-" for task in tasks]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)


def estimate_text(value: dict[str, Any]) -> str:
    """Return mean and interval."""
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


if __name__ == "__main__":
    run_main(main)
