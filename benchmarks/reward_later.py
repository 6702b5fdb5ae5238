"""Return against the number of labeled steps, from one reward-free world model: `python -m benchmarks.reward_later`.

For each env, one stream of colored noise trains one world model without reward. Then the reward of some steps of that
stream, drawn uniformly, is used to train `imagination-sac` and `mpc`, without env steps. The baseline is `sac` from
scratch after as many env steps, all of them with reward. All are evaluated on the same held-out episodes.

    python -m benchmarks.reward_later --out runs/reward_later
    python -m benchmarks.reward_later --report runs/reward_later --markdown

Results are written into `--out`, one JSON file for each env, seed, row and number of labels. Finished ones are skipped,
so the benchmark can be stopped and continued. `--report` prints all results as JSON, with `--markdown` as tables.

| row | what acts |
| --- | --- |
| `policy` | the policy of `imagination-sac`, trained on recorded transitions alone (`real_share` 1) |
| `imagination_sac` | `imagination-sac` |
| `mpc_no_value` | `mpc` with horizon 12, without value and without samples of the policy |
| `mpc_value` | `mpc` with horizon 3 and the value and policy of `imagination_sac` |
| `mpc_all_labels` | as `mpc_no_value`, with the reward of all recorded steps |
| `sac` | `sac` from scratch, online |
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

import robossl
from benchmarks.cells import Cell, env_id, estimate_over_seeds, read_cells
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, make_once, run_parts
from robossl import registry
from robossl.core.interfaces import Observation, Policy
from robossl.core.io import write_json
from robossl.core.statistics import probability_of_improvement
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.control import evaluate_returns
from robossl.streams import Recorder, Stream
from robossl.training.agent_runner import AgentRunner
from robossl.world_model import WorldModel

ENVS = ("CartPoleSwingUp", "WalkerWalk", "CheetahRun", "ArmReach")
LABELS = (1000, 3000, 10_000, 30_000)
BASELINE, RANDOM = "sac", "random"
TRAINED = ("policy", "imagination_sac", "mpc_no_value", "mpc_value", "mpc_all_labels")
ROWS = (*TRAINED, BASELINE, RANDOM)
_COMPARED_LABELS = 10_000  # of the probability of improvement
_NUM_ENVS = 8  # of SAC
_NO_VALUE = {"value": False, "policy_samples": 0, "horizon": 12}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--envs", nargs="+", default=list(ENVS), metavar="NAME", help="without the prefix robossl/ and -v0")
    add("--rows", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    add("--labels", type=int, nargs="+", default=list(LABELS), metavar="N")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    add("--stream-steps", type=int, default=150_000, metavar="N", help="without reward (150000)")
    add("--model-updates", type=int, default=2000, metavar="N", help="of the world model (2000)")
    add("--updates", type=int, default=2000, metavar="N", help="of the agents (2000)")
    add("--episodes", type=int, default=16, metavar="N", help="held-out episodes of a policy (16)")
    add("--search-episodes", type=int, default=4, metavar="N", help="held-out episodes of mpc (4)")
    add("--out", type=Path, default=Path("runs/reward_later"), metavar="FOLDER")
    add_engine_flags(parser)
    add("--report", type=Path, metavar="FOLDER", help="print the results in FOLDER, or of a JSON file")
    add("--markdown", action="store_true", help="print tables")
    options = parser.parse_args()
    if options.report is not None:
        cells = read_cells(options.report)
        print(tables(cells) if options.markdown else json.dumps(summary(cells), indent=1))
        return
    run_parts(
        "benchmarks.reward_later",
        list(parts_of(options)),
        options,
        options.out,
        ("envs", "rows", "labels", "seeds"),
    )


def parts_of(options: argparse.Namespace) -> Iterator[Part]:
    """Yield the stream and model of each env, and what is measured with them."""
    for env in options.envs:
        if set(TRAINED) & set(options.rows):
            yield (first := Part("prepare", (env,)))
        for seed in options.seeds:
            if BASELINE in options.rows:
                yield Part("run_sac", (env, seed))
            if RANDOM in options.rows:
                yield Part("run_random", (env, seed))
            if set(TRAINED) & set(options.rows):
                for labels in options.labels:
                    yield Part("run_trained", (env, seed, labels), (first.name,))


def prepare(options: argparse.Namespace, env: str) -> tuple[Stream, WorldModel]:
    """Return the stream and the world model of an env; make them if they do not exist."""
    folder = options.out / env

    def record(path: Path) -> None:
        robossl.collect(
            env_id(env), "colored_noise", options.stream_steps, path, num_envs=16, threads=1
        ).close()

    stream = Stream.open(make_once(folder / "stream", record))
    make_once(
        folder / "model",
        lambda path: robossl.pretrain(stream, options.model_updates, out=path, threads=1, device="cpu"),
    )
    return stream, WorldModel.load(folder / "model", "cpu")


# --- agents


class PolicyAlone:
    """The policy of an agent, without its search."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Return actions (n, *A)."""
        return self.agent.act_policy(observation, explore)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Keep everything; a policy has no episode state."""


def run_trained(options: argparse.Namespace, env: str, seed: int, labels: int) -> None:
    """Train from labeled steps and evaluate each requested row that has no result yet."""
    rows = missing(options, env, seed, [row for row in options.rows if row in TRAINED], labels)
    if not rows:
        return
    stream, model = prepare(options, env)
    envs = registry.make_envs(env_id(env), 1, threads=1)

    def train(updates: int, learner: Any = None, **settings: Any) -> tuple[Any, Cell]:
        start = time.process_time()
        agent = registry.agent("mpc")(envs, model, seed, "cpu", stream, **settings)
        if learner is not None:
            agent.learner = learner
        agent.learn_offline(updates)
        return agent, {"updates": updates, "train_seconds": round(time.process_time() - start, 1)}

    def save(row: str, policy: Policy, facts: Cell) -> None:
        if row in rows:
            save_cell(options, env, seed, row, labels, policy, facts)

    if "policy" in rows:
        agent, facts = train(options.updates, labeled_steps=labels, real_share=1.0)
        save("policy", PolicyAlone(agent), facts)
    learner = None  # with the reward model of these labels
    if {"imagination_sac", "mpc_value"} & set(rows):
        agent, facts = train(options.updates, labeled_steps=labels)
        learner = agent.learner
        save("imagination_sac", PolicyAlone(agent), facts)
        save("mpc_value", agent, facts)
    if "mpc_no_value" in rows:
        agent, facts = train(0, learner, labeled_steps=labels, **_NO_VALUE)
        save("mpc_no_value", agent, facts)
    if "mpc_all_labels" in rows:
        agent, facts = train(0, **_NO_VALUE)
        save("mpc_all_labels", agent, facts)
    envs.close()


def run_sac(options: argparse.Namespace, env: str, seed: int) -> None:
    """Train SAC from scratch and evaluate it after each number of env steps."""
    open_labels = [labels for labels in options.labels if missing(options, env, seed, (BASELINE,), labels)]
    if not open_labels:
        return
    envs = registry.make_envs(env_id(env), _NUM_ENVS, threads=1, autoreset_mode=AutoresetMode.DISABLED)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder.create(envs, Path(folder) / "stream")
        runner = AgentRunner(BASELINE, recorder, seed, device="cpu")
        steps, start = 0, time.process_time()
        for labels in sorted(open_labels):
            runner.learn(labels - steps)
            steps = labels
            seconds = round(time.process_time() - start, 1)
            save_cell(options, env, seed, BASELINE, labels, runner.agent, {"train_seconds": seconds})
        runner.close()


def run_random(options: argparse.Namespace, env: str, seed: int) -> None:
    """Evaluate random actions."""
    if missing(options, env, seed, (RANDOM,), 0):
        space = robossl.make(env_id(env), 1).single_action_space
        policy = registry.policy("random")(space, min(options.episodes, 16), seed=seed)
        save_cell(options, env, seed, RANDOM, 0, policy, {})


# --- results


def missing(
    options: argparse.Namespace, env: str, seed: int, rows: list[str] | tuple[str, ...], labels: int
) -> list[str]:
    """Return the rows without a result."""
    return [row for row in rows if not cell_path(options, env, seed, row, labels).exists()]


def save_cell(
    options: argparse.Namespace, env: str, seed: int, row: str, labels: int, policy: Policy, facts: Cell
) -> None:
    """Evaluate a policy on held-out episodes and write the result."""
    count = options.search_episodes if row.startswith("mpc") else options.episodes
    envs: VectorEnv = registry.make_envs(env_id(env), min(count, 16), threads=1)
    start = time.process_time()
    episodes = evaluate_returns(envs, policy, count, EVALUATION_SEED)
    envs.close()
    success = episodes.successes
    cell: Cell = {
        "env": env, "seed": seed, "row": row, "labels": labels, **facts,
        "evaluation_seconds": round(time.process_time() - start, 1),
        "returns": episodes.returns.round(3).tolist(),
        "success": None if success is None else float(success.mean()),
    }  # fmt: skip
    write_json(cell_path(options, env, seed, row, labels), cell)
    print(json.dumps({**cell, "returns": round(float(episodes.returns.mean()), 2)}), flush=True)


def cell_path(options: argparse.Namespace, env: str, seed: int, row: str, labels: int) -> Path:
    """Return the file of one result."""
    return options.out / "results" / f"{env}-{seed}-{row}-{labels}.json"


def returns_of(cells: list[Cell], env: str, row: str, labels: int) -> list[np.ndarray]:
    """Return the returns (E,) of each seed."""
    chosen = [c for c in cells if (c["env"], c["row"], c["labels"]) == (env, row, labels)]
    return [np.array(cell["returns"]) for cell in sorted(chosen, key=lambda cell: cell["seed"])]


def summary(cells: list[Cell]) -> dict[str, Any]:
    """Return the rows of each env, the probability of improvement over SAC, and all results."""
    rows: dict[str, Any] = {}
    improvement: dict[str, Any] = {}
    for env in dict.fromkeys(cell["env"] for cell in cells):
        rows[env], improvement[env] = {}, {}
        for row in ROWS:
            labels = sorted({c["labels"] for c in cells if (c["env"], c["row"]) == (env, row)})
            by_labels = {count: returns_of(cells, env, row, count) for count in labels}
            rows[env][row] = {count: estimate_over_seeds(by_seed) for count, by_seed in by_labels.items()}
            ours, baseline = (returns_of(cells, env, name, _COMPARED_LABELS) for name in (row, BASELINE))
            if row in TRAINED and ours and baseline:
                means = [np.array([values.mean() for values in by_seed]) for by_seed in (ours, baseline)]
                probability = probability_of_improvement(means[0], means[1])
                improvement[env][row] = {**probability, "baseline_n": len(baseline)}
    return {"rows": rows, "improvement_over_sac_at_10000": improvement, "cells": cells}


def tables(cells: list[Cell]) -> str:
    """Return one Markdown table of all envs: return by labeled steps, and the probability of improvement."""
    results = summary(cells)
    counts = sorted({cell["labels"] for cell in cells} - {0})
    lines = [
        f"| env | row | {' | '.join(f'{count:,}' for count in counts)} | P(better than sac) at 10,000 |",
        "| --- | --- |" + " --- |" * (len(counts) + 1),
    ]
    for env, rows in results["rows"].items():
        for row, by_labels in rows.items():
            if not by_labels:
                continue
            by_count = by_labels if row != RANDOM else dict.fromkeys(counts[:1], by_labels[0])
            texts = [number_cell(by_count[count]) if count in by_count else "-" for count in counts]
            better = results["improvement_over_sac_at_10000"][env].get(row)
            probability = "-" if better is None else probability_cell(better)
            lines.append(f"| {env} | {row} | {' | '.join(texts)} | {probability} |")
    return "\n".join(lines)


def probability_cell(value: dict[str, Any]) -> str:
    """Return a probability with the number of runs of both, and with its interval if both have at least three."""
    runs = f"{value['n']} x {value['baseline_n']} runs"
    interval = (
        f" [{value['low']:.2f}, {value['high']:.2f}]" if min(value["n"], value["baseline_n"]) >= 3 else ""
    )
    return f"{value['mean']:.2f}{interval}, {runs}"


def number_cell(value: dict[str, Any]) -> str:
    """Return mean, interval and number of seeds."""
    return f"{value['mean']:.1f} [{value['low']:.1f}, {value['high']:.1f}] ({value['seeds']})"


if __name__ == "__main__":
    run_main(main)
