"""Curious exploration against colored noise: `python -m benchmarks.curiosity --out runs/curiosity`.

For each robot and seed, a stream of each policy is recorded. `coverage` compares the states that the streams visit,
with uniform random actions as the baseline. `returns` is the metric that counts: `offline-td3` is trained on each
stream, relabeled with the reward of each task of the robot, and evaluated on the same held-out episodes.

Results are written into `--out`, one JSON file each; finished ones are skipped, so the benchmark can be stopped and
continued. `--report PATH` prints all results as JSON, with `--markdown` as tables.

    python -m benchmarks.curiosity --stages record coverage returns
    python -m benchmarks.curiosity --report runs/curiosity --markdown
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from robossl.agents.offline_td3 import OfflineTd3Agent
from robossl.agents.sb3.stacked_td3 import train_stacked

import robossl
from benchmarks.cells import Cell, env_id, read_cells
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, make_once, run_parts
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.io import read_json, write_json
from robossl.core.seeding import generator
from robossl.core.statistics import mean_ci, paired_difference
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.control import evaluate_returns
from robossl.evaluation.metrics.coverage import sample_states, state_coverage
from robossl.streams import Recorder, Stream

TASKS = {  # env of the stream -> tasks of the same robot that are learned from it
    "CheetahRun": ("CheetahRun",),
    "WalkerWalk": ("WalkerWalk", "WalkerRun"),
    "QuadrupedWalk": ("QuadrupedWalk",),
    "PointMaze": ("PointMaze",),
}
POLICIES = ("random", "colored_noise", "curious")
BASELINE, CURIOUS = "colored_noise", "curious"
_NUM_ENVS = 64
_STATES = 20_000  # of each stream, for the coverage


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--envs", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="NAME", help=", ".join(TASKS))
    add("--tasks", nargs="+", metavar="NAME", help="of the stage returns (those of the envs)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    add("--steps", type=int, default=48_000, metavar="N", help="of a stream (48000)")
    add("--updates", type=int, default=20_000, metavar="N", help="of offline-td3 (20000)")
    add("--episodes", type=int, default=16, metavar="N", help="held-out episodes of a return (16)")
    add("--stages", nargs="*", default=["record", "coverage"], choices=["record", "coverage", "returns"])
    add("--out", type=Path, default=Path("runs/curiosity"), metavar="FOLDER")
    add_engine_flags(parser)
    add("--report", type=Path, metavar="PATH", help="print the results in a folder, or of a JSON file")
    add("--markdown", action="store_true", help="print the report as tables")
    options = parser.parse_args()
    if options.report is not None:
        results = read_cells(options.report)
        print(tables(results) if options.markdown else json.dumps(results, indent=2))
        return
    run_parts(
        "benchmarks.curiosity", list(parts_of(options)), options, options.out,
        ("envs", "tasks", "seeds", "stages", "updates", "episodes"),
    )  # fmt: skip


def parts_of(options: argparse.Namespace) -> Iterator[Part]:
    """Yield the streams, their coverage, and the agents of each task."""
    for env in options.envs:
        recorded = [Part("record", (env, seed, policy)) for seed in options.seeds for policy in POLICIES]
        if "record" in options.stages:
            yield from recorded
        names = tuple(part.name for part in recorded)
        for seed in options.seeds if "coverage" in options.stages else ():
            yield Part("coverage", (env, seed), names)
        for task in TASKS[env] if "returns" in options.stages else ():
            if options.tasks is None or task in options.tasks:
                yield Part("returns", (env, task), names)


def record(options: argparse.Namespace, env: str, seed: int, policy: str) -> None:
    """Record the stream of a policy."""
    folder = stream_folder(options, env, seed, policy)
    if result_path(options, "record", env, seed, policy).is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted start
    start, cpu = time.perf_counter(), time.process_time()
    stream = robossl.collect(env_id(env), policy, options.steps, folder, seed, num_envs=_NUM_ENVS, threads=1)
    save(options, {
        "kind": "record", "env": env, "seed": seed, "policy": policy, "steps": int(stream.transitions),
        "seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
    })  # fmt: skip


def coverage(options: argparse.Namespace, env: str, seed: int) -> None:
    """Compare the states of the streams."""
    if result_path(options, "coverage", env, seed).is_file():
        return
    streams = {policy: Stream.open(stream_folder(options, env, seed, policy)) for policy in POLICIES}
    states = {policy: sample_states(stream, _STATES, seed) for policy, stream in streams.items()}
    rows = {policy: round(value, 4) for policy, value in state_coverage(states).items()}
    save(options, {
        "kind": "coverage", "env": env, "seed": seed, "steps": options.steps, "coverage": rows,
        "best_rewards": {policy: best_rewards(stream, seed) for policy, stream in streams.items()},
    })  # fmt: skip


def best_rewards(stream: Stream, seed: int) -> float:
    """Return the mean of the highest 1 % of the rewards, which no policy has seen."""
    rewards = stream.windows(_STATES, 1, generator(seed, "rewards"), split=None).reward[:, 0]
    return round(float(np.sort(rewards)[-_STATES // 100 :].mean()), 4)


def returns(options: argparse.Namespace, env: str, task: str) -> None:
    """Train `offline-td3` on the streams of colored noise and of the curious policy, all agents of a task at once."""
    cells = [
        (seed, policy)
        for seed in options.seeds
        for policy in (BASELINE, CURIOUS)
        if result_path(options, "record", env, seed, policy).is_file()
        and not is_measured(options, result_path(options, "return", env, seed, policy, task))
    ]
    if not cells:
        return
    cpu = time.process_time()
    with ExitStack() as stack:
        agents = [make_agent(options, env, task, seed, policy, stack) for seed, policy in cells]
        train_stacked(agents, options.updates)
        seconds = (time.process_time() - cpu) / len(agents)
        for (seed, policy), agent in zip(cells, agents):
            envs = registry.make_envs(env_id(task), min(options.episodes, 16), threads=1)
            episodes = evaluate_returns(envs, agent, options.episodes, EVALUATION_SEED)
            envs.close()
            save(options, {
                "kind": "return", "env": env, "seed": seed, "policy": policy, "task": task,
                "steps": options.steps, "updates": options.updates, "cpu_seconds": round(seconds, 1),
                "returns": episodes.returns.round(3).tolist(),
            })  # fmt: skip


def is_measured(options: argparse.Namespace, path: Path) -> bool:
    """Return whether the returns of an agent are in a file; raise UsageError if they are of other options."""
    if not path.is_file():
        return False
    cell = read_json(path)
    for name, value in (("updates", cell["updates"]), ("episodes", len(cell["returns"]))):
        if value != getattr(options, name):
            raise UsageError(
                f"{path} has {name} {value}, got {getattr(options, name)}; remove it, or give another --out"
            )
    return True


def make_agent(
    options: argparse.Namespace, env: str, task: str, seed: int, policy: str, stack: ExitStack
) -> OfflineTd3Agent:
    """Return an untrained agent on a stream, relabeled if the stream has the rewards of another task."""
    stream = Stream.open(stream_folder(options, env, seed, policy))
    if task != env:
        folder = options.out / "streams" / f"{env}-{seed}-{policy}-{task}"
        recorded = stream
        make_once(folder, lambda path: robossl.relabel(recorded, env_id(task), out=path).close())
        stream = Stream.open(folder)
    envs = registry.make_envs(env_id(task), 1, threads=1, autoreset_mode=AutoresetMode.DISABLED)
    own = Recorder.create(envs, Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stream")
    stack.callback(own.close)
    return OfflineTd3Agent(own, None, seed, "cpu", stream=stream)


def save(options: argparse.Namespace, cell: Cell) -> None:
    """Write one result and print it."""
    keys = [str(cell[key]) for key in ("kind", "env", "seed", "policy", "task") if key in cell]
    write_json(result_path(options, *keys), cell)
    print(json.dumps(cell), flush=True)


def result_path(options: argparse.Namespace, *keys: Any) -> Path:
    """Return the file of one result."""
    return options.out / "results" / f"{'-'.join(map(str, keys))}.json"


def stream_folder(options: argparse.Namespace, env: str, seed: int, policy: str) -> Path:
    """Return the folder of one stream."""
    return options.out / "streams" / f"{env}-{seed}-{policy}"


def tables(results: list[Cell]) -> str:
    """Return the tables of docs/control.md: coverage and CPU time, and returns."""
    lines = [
        "| robot | coverage: random | colored_noise | curious | best rewards: random | colored_noise | curious "
        "| CPU seconds: colored_noise | curious | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for env in dict.fromkeys(cell["env"] for cell in results):
        cells = [cell for cell in results if cell["env"] == env]
        covered = [cell["coverage"] for cell in cells if cell["kind"] == "coverage"]
        values = [_range([rows[policy] for rows in covered], "{:.2f}") for policy in POLICIES]
        best = [cell["best_rewards"] for cell in cells if cell["kind"] == "coverage"]
        values += [_range([rows[policy] for rows in best], "{:.2f}") for policy in POLICIES]
        for policy in (BASELINE, CURIOUS):
            recorded = [c["cpu_seconds"] for c in cells if c["kind"] == "record" and c["policy"] == policy]
            values.append(_range(recorded, "{:.0f}"))
        lines.append(f"| {env} | {' | '.join(values)} | {len(covered)} |")
    lines += [
        "",
        "| task | colored_noise | curious | difference | seeds |",
        "| --- | --- | --- | --- | --- |",
    ]
    measured = [cell for cell in results if cell["kind"] == "return"]
    for task in dict.fromkeys(cell["task"] for cell in measured):
        by_policy = {
            policy: {c["seed"]: c["returns"] for c in measured if c["task"] == task and c["policy"] == policy}
            for policy in (BASELINE, CURIOUS)
        }
        seeds = sorted(set(by_policy[BASELINE]) & set(by_policy[CURIOUS]))
        if not seeds:
            continue
        pairs = [np.concatenate([rows[seed] for seed in seeds]) for rows in by_policy.values()]
        cluster = np.repeat(seeds, [len(by_policy[BASELINE][seed]) for seed in seeds])
        estimates = [mean_ci(values, cluster) for values in pairs]
        curious, baseline = (
            np.array([np.mean(rows[s]) for s in seeds]) for rows in reversed(by_policy.values())
        )
        estimates.append(paired_difference(curious, baseline))
        row = [f"{e['mean']:.1f} [{e['low']:.1f}, {e['high']:.1f}]" for e in estimates]
        lines.append(f"| {task} | {' | '.join(row)} | {len(seeds)} |")
    return "\n".join(lines)


def _range(values: list[float], template: str) -> str:
    """Return the median of seeds with the smallest and the largest value."""
    if not values:
        return "-"
    low, middle, high = (template.format(v) for v in (min(values), float(np.median(values)), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    run_main(main)
