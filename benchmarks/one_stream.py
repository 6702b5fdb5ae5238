"""Offline TD3 on all tasks of a robot from one reward-free stream: `python -m benchmarks.one_stream`.

The stream is relabeled for each task. For every row, the agents of all tasks and seeds learn stacked, as one batched
network, and are evaluated on held-out episodes at some numbers of updates; the last checkpoint counts. With
`--online-steps` each agent then goes on in the env, with half of its batches from the stream. Normalized
return is (return - random) / (reference - random), with the references of docs/environments.md. Results are written as
they come, so an interrupted run keeps what is done. `--speed` measures stacked training against one agent after the
other.
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
from robossl.agents.sb3.stacked_td3 import StackedTD3

import robossl
from benchmarks.cells import Cell, env_id, estimate_over_seeds, read_cells
from benchmarks.cli import run_main
from robossl import registry
from robossl.core.io import read_json, write_json
from robossl.core.statistics import paired_difference
from robossl.evaluation.control import evaluate_returns
from robossl.streams import Recorder, Stream
from robossl.world_model import WorldModel

TASKS = ("WalkerStand", "WalkerWalk", "WalkerRun", "WalkerFlip")
ROWS: dict[str, dict[str, Any]] = {  # settings of the agent
    "observation": {},
    "latent": {"encoder": "frozen", "observe": "latent"},
    "latent_observation": {"encoder": "frozen"},
    "pretrained_critic": {"critic_pretraining": 2000},
}
PAGE = Path(__file__).parent.parent / "docs" / "environments.md"
_NUM_ENVS = 4  # of an agent that goes on in the env
_SPEED_AGENTS, _SPEED_UPDATES = 8, 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--tasks", nargs="+", default=list(TASKS), metavar="NAME", help="without the prefix robossl/ and -v0")
    add("--rows", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    add("--stream", type=Path, metavar="FOLDER", help="a reward-free stream; made if there is none")
    add("--model", type=Path, metavar="FOLDER", help="a world model of the stream; made if there is none")
    add("--policy", default="colored_noise", metavar="NAME", help="that records the stream (colored_noise)")
    add("--stream-steps", type=int, default=200_000, metavar="N", help="of the stream (200000)")
    add("--model-updates", type=int, default=2000, metavar="N", help="of the world model (2000)")
    add("--updates", type=int, default=20_000, metavar="N", help="of each agent (20000)")
    add("--evaluate-every", type=int, default=5000, metavar="N", help="updates between evaluations (5000)")
    add("--episodes", type=int, default=20, metavar="N", help="held-out episodes of an evaluation (20)")
    add("--batch-size", type=int, default=256, metavar="N", help="of the agents (256)")
    add("--hidden", type=int, default=256, metavar="N", help="width of the agents' networks (256)")
    add("--online-steps", type=int, default=0, metavar="N", help="env steps of each agent afterwards (0)")
    add("--threads", type=int, default=1, metavar="N", help="of torch (1)")
    add("--out", type=Path, default=Path("runs/one_stream"), metavar="FOLDER")
    add("--speed", action="store_true", help="measure stacked training against one agent after the other")
    add("--report", type=Path, metavar="FOLDER", help="print the results in FOLDER, or of a JSON file")
    add("--markdown", action="store_true", help="print a table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.report is None and not options.speed:
        measure(options)
    if options.speed:
        print(json.dumps(measure_speed(options), indent=1))
        return
    cells = read_cells(options.report or options.out)
    print(
        table(cells)
        if options.markdown
        else json.dumps({"summary": summary(cells), "cells": cells}, indent=1)
    )


# --- training


def measure(options: argparse.Namespace) -> None:
    """Train and evaluate the rows that have no result with as many updates yet."""
    (options.out / "results").mkdir(parents=True, exist_ok=True)
    for row in options.rows:
        keys = [
            (task, seed)
            for task in options.tasks
            for seed in options.seeds
            if read_cell(options, row, task, seed).get("updates", 0) < options.updates
        ]
        if keys:
            train_row(options, row, keys)


def train_row(options: argparse.Namespace, row: str, keys: list[tuple[str, int]]) -> None:
    """Train the agents of a row stacked, and save a result of each at every evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        agents = [make_agent(options, row, task, seed, Path(folder)) for task, seed in keys]
        start = time.process_time()
        for agent in agents:
            agent.pretrain_critic()
        stack, done = StackedTD3(agents), 0
        while done < options.updates:
            count = min(options.evaluate_every, options.updates - done)
            stack.train(count)
            done += count
            facts = {"updates": done, "train_seconds": round((time.process_time() - start) / len(agents), 1)}
            for (task, seed), agent in zip(keys, agents):
                save_cell(options, row, task, seed, agent, facts)
        if options.online_steps:
            for (task, seed), agent in zip(keys, agents):
                go_online(options, row, task, seed, agent)


def go_online(options: argparse.Namespace, row: str, task: str, seed: int, agent: OfflineTd3Agent) -> None:
    """Let an agent learn in the env, and add its returns after every 1,000 env steps to its result."""
    cell = read_cell(options, row, task, seed)
    curve = [[0, cell["returns"]]]
    for steps in range(1000, options.online_steps + 1, 1000):
        agent.learn(agent._envs.envs, 1000)
        curve.append([steps, evaluate(options, task, seed, agent)])
        write_json(cell_path(options, row, task, seed), {**cell, "online": curve})
        print(f"{row} {task} seed {seed}: {np.mean(curve[-1][1]):.1f} after {steps} env steps", flush=True)


def make_agent(options: argparse.Namespace, row: str, task: str, seed: int, folder: Path) -> OfflineTd3Agent:
    """Return an agent of a row on the stream with the rewards of a task."""
    sizes = {"batch_size": options.batch_size, "policy_kwargs": {"net_arch": [options.hidden] * 2}}
    settings = {**sizes, **ROWS[row]}
    envs = registry.make_envs(env_id(task), _NUM_ENVS, threads=1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, folder / f"{task}-{seed}")
    model = prepare_model(options) if "encoder" in settings else None
    return OfflineTd3Agent(recorder, model, seed, "cpu", stream=prepare_task(options, task), **settings)


def prepare_stream(options: argparse.Namespace) -> Stream:
    """Return the reward-free stream, recorded with the initial states of the first task."""
    path = options.stream or options.out / "stream"
    if not path.exists():
        robossl.collect(
            env_id(TASKS[0]), options.policy, options.stream_steps, path, num_envs=64, threads=options.threads
        ).close()
    return Stream.open(path)


def prepare_task(options: argparse.Namespace, task: str) -> Stream:
    """Return the stream with the rewards of a task."""
    path = options.out / "streams" / task
    if not path.exists():
        robossl.relabel(prepare_stream(options), env_id(task), path, threads=options.threads)
    return Stream.open(path)


def prepare_model(options: argparse.Namespace) -> WorldModel:
    """Return the world model of the reward-free stream."""
    path = options.model or options.out / "model"
    if not path.exists():
        robossl.pretrain(
            prepare_stream(options), options.model_updates, out=path, threads=options.threads, device="cpu"
        )
    return WorldModel.load(path, "cpu").frozen_copy()


# --- results


def save_cell(
    options: argparse.Namespace, row: str, task: str, seed: int, agent: OfflineTd3Agent, facts: Cell
) -> None:
    """Evaluate an agent and add the result to its file."""
    returns = evaluate(options, task, seed, agent)
    old = read_cell(options, row, task, seed)
    curve = [*old.get("curve", []), [facts["updates"], float(np.mean(returns))]]
    cell = {"row": row, "task": task, "seed": seed, **facts, "returns": returns, "curve": curve}
    write_json(cell_path(options, row, task, seed), cell)
    print(f"{row} {task} seed {seed}: {np.mean(returns):.1f} after {facts['updates']} updates", flush=True)


def evaluate(options: argparse.Namespace, task: str, seed: int, agent: OfflineTd3Agent) -> list[float]:
    """Return the returns of held-out episodes."""
    envs = registry.make_envs(env_id(task), options.episodes, threads=1)
    try:
        return evaluate_returns(envs, agent, options.episodes, seed=seed).returns.tolist()
    finally:
        envs.close()


def cell_path(options: argparse.Namespace, row: str, task: str, seed: int) -> Path:
    """Return the file of a result."""
    return options.out / "results" / f"{row}-{task}-{seed}.json"


def read_cell(options: argparse.Namespace, row: str, task: str, seed: int) -> Cell:
    """Return a result; empty if there is none."""
    path = cell_path(options, row, task, seed)
    return read_json(path) if path.exists() else {}


def references() -> dict[str, tuple[float, float]]:
    """Return the returns of random actions and of the reference controller by task, from docs/environments.md."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 8 and parts[1] in registry_names():
            found[parts[1]] = (float(parts[3].split()[0]), float(parts[4].split()[0]))
    return found


def registry_names() -> set[str]:
    """Return the names of all tasks."""
    return {name.split("/")[1].removesuffix("-v0") for name in registry.env_ids()}


def summary(cells: list[Cell]) -> dict[str, Any]:
    """Return the normalized return by row and task, and the differences to the observation row.

    Intervals resample whole seeds; with one seed, its episodes.
    """
    bounds, scores, report = references(), {}, {}
    for cell in cells:
        random, reference = bounds[cell["task"]]
        values = (np.array(cell["returns"]) - random) / (reference - random)
        scores.setdefault(cell["row"], {}).setdefault(cell["task"], {})[cell["seed"]] = values
    for row, by_task in scores.items():
        baseline = scores.get("observation", {})
        gains = [
            (values.mean(), baseline[task][seed].mean())
            for task, by_seed in by_task.items()
            for seed, values in by_seed.items()
            if row != "observation" and seed in baseline.get(task, {})
        ]
        report[row] = {
            "tasks": {task: estimate_over_seeds(list(by_seed.values())) for task, by_seed in by_task.items()},
            "difference_to_observation": paired_difference(*np.array(gains).T) if gains else None,
        }
    return report


def table(cells: list[Cell]) -> str:
    """Return a Markdown table of normalized returns."""
    report = summary(cells)
    tasks = [task for task in TASKS if any(task in row["tasks"] for row in report.values())]
    lines = [f"| row | {' | '.join(tasks)} |", "| --- |" + " --- |" * len(tasks)]
    for name, row in report.items():
        texts = [estimate_text(row["tasks"][task]) if task in row["tasks"] else "-" for task in tasks]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)


def estimate_text(value: dict[str, Any]) -> str:
    """Return mean and interval."""
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


# --- speed


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Return updates per second of 8 agents alone and stacked, in turns, with the ratio of each turn."""
    turns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        agents = [
            make_agent(options, "observation", TASKS[0], seed, Path(folder)) for seed in range(_SPEED_AGENTS)
        ]
        stack = StackedTD3(agents)
        stack.train(2)
        for _ in range(5):
            turn = {}
            for name in ("alone", "stacked"):
                start = time.perf_counter(), time.process_time()
                if name == "stacked":
                    stack.train(_SPEED_UPDATES)
                else:
                    for agent in agents:
                        agent.learn_offline(_SPEED_UPDATES)
                work = _SPEED_AGENTS * _SPEED_UPDATES
                turn[f"{name}_wall"] = work / (time.perf_counter() - start[0])
                turn[f"{name}_cpu"] = work / (time.process_time() - start[1])
            turns.append(turn)
    median = {name: float(np.median([turn[name] for turn in turns])) for name in turns[0]}
    ratio = {
        clock: float(np.median([turn[f"stacked_{clock}"] / turn[f"alone_{clock}"] for turn in turns]))
        for clock in ("wall", "cpu")
    }
    return {"updates_per_second": median, "ratio": ratio, "threads": torch.get_num_threads(), "turns": turns}


if __name__ == "__main__":
    run_main(main)
