"""Encoders under reinforcement learning: SAC with each encoder mode: `python -m benchmarks.encoders_under_rl`.

From 64x64 images, the end-to-end baseline `scratch` trains the same convolutions by the critic loss (DrQ-v2's recipe,
arXiv 2107.09645: random shift, returns over 3 steps, latents of 50 numbers), while `frozen` and `cotrain` start from a
world model that was trained without reward on colored noise. With `--pixels 0`, agents observe numbers: `none` observes
them as they are, `frozen` and `random` the latent, `frozen+observation` the latent and the numbers.

    python -m benchmarks.encoders_under_rl --env robossl/Reacher-v0 --out runs/encoders
    python -m benchmarks.encoders_under_rl --report runs/encoders --markdown

All agents have the same settings, budget and held-out episodes. A result is written for each row, seed and number of
steps, with the reward-free steps before it and the CPU time; finished rows are skipped, so that the benchmark can be
stopped and continued.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from benchmarks.cli import run_main
from benchmarks.parts import SETTINGS, Part, add_engine_flags, make_once, run_parts
from robossl import registry
from robossl.core.agent_observation import ENCODERS
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json, write_json
from robossl.core.statistics import mean_ci, probability_of_improvement
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.control import evaluate_returns
from robossl.evaluation.report.number_format import interval
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.world_model import WorldModel
from robossl.world_model.config import default_config_for
from robossl.world_model.trainer import WorldModelTrainer

PIXEL_ROWS = ("frozen", "cotrain", "scratch")
STATE_ROWS = ("none", "frozen", "frozen+observation", "random")
_LATENT_DIM = 50  # from images, as in DrQ-v2
_NUM_ENVS = 8
_UPDATES_PER_STEP = 0.25  # the default of the agent
Cell = dict[str, Any]  # the result of one env, row, seed and number of steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--env", default="robossl/Reacher-v0", metavar="ID")
    add("--pixels", type=int, default=64, metavar="N", help="edge of the images; 0 observes numbers (64)")
    add(
        "--rows",
        nargs="+",
        metavar="ROW",
        help="encoder modes, with +observation to observe the numbers as well",
    )
    add("--steps", type=int, nargs="+", default=[10_000], metavar="N", help="evaluated after N steps (10000)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N")
    add("--stream-steps", type=int, default=30_000, metavar="N", help="without reward (30000)")
    add("--model-updates", type=int, default=1500, metavar="N", help="of the world model (1500)")
    add("--batch-size", type=int, default=128, metavar="N", help="of the agent (128)")
    add("--updates-per-step", type=float, default=_UPDATES_PER_STEP, metavar="X", help="of the agent (0.25)")
    add("--episodes", type=int, default=20, metavar="N", help="held-out episodes (20)")
    add("--prepare", action="store_true", help="only train the world models")
    add("--out", type=Path, default=Path("runs/encoders"), metavar="FOLDER")
    add_engine_flags(parser)
    add("--report", type=Path, nargs="+", metavar="PATH", help="print the results in folders or JSON files")
    add("--markdown", action="store_true", help="print a table")
    options = parser.parse_args()
    if options.report is not None:
        cells = [cell for path in options.report for cell in read_cells(path)]
        if not cells:
            raise UsageError(
                f"expected results in {' '.join(map(str, options.report))}, got none; measure first"
            )
        print(table(cells) if options.markdown else json.dumps({"cells": cells}, indent=1))
        return
    options.rows = [] if options.prepare else options.rows or (PIXEL_ROWS if options.pixels else STATE_ROWS)
    for row in options.rows:
        mode, _, beside = row.partition("+")
        if mode not in ENCODERS or beside not in ("", "observation"):
            raise UsageError(
                f"no row {row!r}; available: {', '.join(ENCODERS)}, each with +observation behind it"
            )
    parts = [Part("prepare", (seed,)) for seed in options.seeds]
    parts += [
        Part("run_row", (row, seed, options.updates_per_step), (Part("prepare", (seed,)).name,))
        for seed in options.seeds
        for row in options.rows
    ]
    run_parts(
        "benchmarks.encoders_under_rl", parts, options, options.out,
        ("rows", "steps", "seeds", "prepare", "updates_per_step"), key=name_of(options, "", "")
    )  # fmt: skip
    print(json.dumps({"cells": read_cells(options.out)}, indent=1))


def make_envs(options: argparse.Namespace, num_envs: int = _NUM_ENVS) -> VectorEnv:
    """Return envs that are reset by their user."""
    return registry.make_envs(
        options.env, num_envs, pixels=options.pixels, autoreset_mode=AutoresetMode.DISABLED
    )


def name_of(options: argparse.Namespace, kind: str, seed: int | str) -> str:
    """Return the name of a file or folder of this env and seed."""
    env = options.env.split("/")[-1].split("-")[0]
    return f"{kind}-{env}-{options.pixels}-{seed}"


def prepare(options: argparse.Namespace, seed: int) -> None:
    """Record colored noise and train a world model on it, unless both exist."""
    stream = Stream.open(
        make_once(options.out / name_of(options, "stream", seed), lambda path: record(options, seed, path))
    )

    def train(path: Path) -> None:
        config = default_config_for(stream.observation_space)
        if options.pixels:
            config = replace(config, latent_dim=_LATENT_DIM)
        model = WorldModel(config, stream.observation_space, stream.action_space, seed)
        trainer = WorldModelTrainer(model, stream, seed, device="cpu")
        trainer.run(options.model_updates)
        trainer.publish().save(path)

    make_once(options.out / name_of(options, "model", seed), train)


def record(options: argparse.Namespace, seed: int, folder: Path) -> None:
    """Record colored noise, without reward."""
    recorder = Recorder.create(make_envs(options, 16), folder)
    policy = registry.policy("colored_noise")(recorder.single_action_space, 16, seed)
    collect_steps(recorder, policy, options.stream_steps, seed, NullProgress())
    recorder.close()


def run_row(options: argparse.Namespace, row: str, seed: int, rate: float) -> None:
    """Train an agent with `rate` updates per step and evaluate it after each number of steps; write a file for each."""
    name = row if rate == _UPDATES_PER_STEP else f"{row}-{rate:g}_updates"
    files = {
        steps: options.out / f"{name_of(options, name, seed)}-{steps}.json" for steps in sorted(options.steps)
    }
    if all(path.is_file() for path in files.values()):
        return
    mode, _, beside = row.partition("+")
    observe = None if mode == "none" else {"observe": "latent_observation" if beside else "latent"}
    model = WorldModel.load(options.out / name_of(options, "model", seed), "cpu").frozen_copy()
    stream = Stream.open(options.out / name_of(options, "stream", seed))
    reward_free = int(stream.transitions) if mode in ("frozen", "finetune", "cotrain") else 0
    steps_folder = options.out / name_of(options, f"{name}-steps", seed)
    shutil.rmtree(steps_folder, ignore_errors=True)  # of an interrupted start
    recorder = Recorder.create(make_envs(options), steps_folder)
    agent = registry.agent("sac")(
        recorder,
        None if mode == "none" else model,
        seed=seed,
        device="cpu",
        encoder=mode,
        batch_size=options.batch_size,
        updates_per_step=rate,
        stream=stream if mode in ("finetune", "cotrain") else None,
        **(observe or {}),
    )
    evaluation, done, seconds = make_envs(options, 10), 0, 0.0
    for steps, path in files.items():
        start = time.process_time()
        agent.learn(recorder, steps - done)
        seconds += time.process_time() - start
        done = steps
        returns = evaluate_returns(evaluation, agent, options.episodes, EVALUATION_SEED + seed).returns
        cell: Cell = {
            "env": options.env, "pixels": options.pixels, "row": row, "seed": seed, "steps": steps,
            "reward_free_steps": reward_free, "cpu_seconds": round(seconds, 1), "returns": returns.tolist(),
            "model_updates": options.model_updates, "batch_size": options.batch_size,
            "updates_per_step": rate,
        }  # fmt: skip
        write_json(path, cell)
    evaluation.close()
    recorder.close()


def read_cells(path: Path) -> list[Cell]:
    """Return the results in a folder or a JSON file."""
    if path.is_file():
        content = read_json(path)
        return list(content["cells"]) if "cells" in content else [content]
    files = [file for file in sorted(path.glob("*.json")) if not file.name.startswith(SETTINGS)]
    return [cell for file in files for cell in read_cells(file)]


def table(cells: list[Cell]) -> str:
    """Return Markdown: returns, and the probability that an episode is better than one of the baseline.

    The baseline has the same number of updates per step, or another one where that was not measured.
    """
    lines = [
        "| env | row | updates per step | steps | without reward | seeds | return | P(better than the baseline) "
        "| CPU time [s] |",
        "| --- " * 9 + "|",
    ]
    for key in sorted({key_of(cell) for cell in cells}):
        env, pixels, steps, row, reward_free, rate = key
        own = [cell for cell in cells if key_of(cell) == key]
        baseline = "scratch" if pixels else "none"
        of_baseline = [c for c in cells if key_of(c)[:5] == (env, pixels, steps, baseline, 0)]
        other = [c for c in of_baseline if rate_of(c) == rate] or of_baseline
        estimate, better = mean_ci(episodes(own)), "-"
        if other and row != baseline:
            gain = probability_of_improvement(episodes(own), episodes(other))
            better = f"{gain['mean']:.2f} {interval(gain)}"
        cpu = sum(cell["cpu_seconds"] for cell in own) / len(own)
        lines.append(
            f"| {env} | {row} | {rate:g} | {steps:,} | {reward_free:,} | {len(own)} "
            f"| {estimate['mean']:.0f} {interval(estimate)} | {better} | {cpu:.0f} |"
        )
    return "\n".join(lines)


def key_of(cell: Cell) -> tuple[str, int, int, str, int, float]:
    """Return what the results of all seeds of a row have in common."""
    return (
        cell["env"], cell["pixels"], cell["steps"], cell["row"], cell["reward_free_steps"], rate_of(cell)
    )  # fmt: skip


def rate_of(cell: Cell) -> float:
    """Return the updates per step of a result."""
    return float(cell.get("updates_per_step", _UPDATES_PER_STEP))


def episodes(cells: list[Cell]) -> np.ndarray:
    """Return the returns (n,) of the held-out episodes of all seeds."""
    return np.array([value for cell in cells for value in cell["returns"]])


if __name__ == "__main__":
    run_main(main)
