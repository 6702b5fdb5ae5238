"""Speed of imagined and real steps: `python -m benchmarks.imagination_speed --env robossl/HopperHop-v0 --json`.

Steps per second of `WorldModelEnv` on the device, compared with those of the real env on the CPU threads, in turns.
The model has the default size and a few updates only, because its accuracy does not affect the speed. `imagined` does
not truncate (`max_disagreement=inf`) and has no reward; `imagined_with_reward` has a reward model and one head for each
episode, as in the agent `imagination-sac`. The real env computes its reward.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

import robossl
from benchmarks.cli import run_main
from benchmarks.training_speed import machine, started_trainer
from robossl.training.config import thread_count
from robossl.world_model import RewardModel, WorldModelConfig, WorldModelEnv
from robossl.world_model.device import resolve

_TARGET = 10.0  # on CUDA with 4,096 sub-environments
_STREAM_STEPS = 20_000  # of the stream with the start states


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--env", nargs="+", default=["robossl/QuadrupedWalk-v0", "robossl/HumanoidWalk-v0"], metavar="ID"
    )
    parser.add_argument("--num-envs", type=int, default=4096, metavar="N", help="in both (4096)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="of one turn (20)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="turns of each row (5)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    threads, device = thread_count(options.threads), resolve(options.device)
    torch.set_num_threads(threads)
    rows = {env: compare(env, options, threads, device) for env in options.env}
    report = {"target": _TARGET, "machine": machine(device), "settings": vars(options), "rows": rows}
    print(json.dumps(report, indent=2) if options.json else table(rows))


def compare(env: str, options: argparse.Namespace, threads: int, device: torch.device) -> dict[str, float]:
    """Return median steps per second of both envs, and the median over turns of their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect(
            env, "colored_noise", _STREAM_STEPS, f"{folder}/stream", num_envs=64, threads=threads
        )
        model = started_trainer(stream, device, WorldModelConfig()).publish()
        imagined = WorldModelEnv(model, stream, options.num_envs, horizon=1000, max_disagreement=math.inf)
        with_reward = WorldModelEnv(
            model, stream, options.num_envs, 1000, RewardModel(model, stream, 10), math.inf, heads="episode"
        )
        real = robossl.make(env, options.num_envs, threads)
        measured = {"imagined": imagined, "imagined_with_reward": with_reward, "real": real}
        rates: dict[str, list[float]] = {name: [] for name in measured}
        for envs in measured.values():
            envs.reset(seed=0)
        for turn in range(options.turns + 1):
            for name, envs in measured.items():
                rate = options.num_envs * options.steps / seconds_for(envs, options.steps)
                if turn:  # the first turn is a warm-up
                    rates[name].append(rate)
        real.close()
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    ratios = {
        label: round(statistics.median(a / b for a, b in zip(rates[name], rates["real"])), 2)
        for label, name in (("ratio", "imagined"), ("ratio_with_reward", "imagined_with_reward"))
    }
    return {**medians, **ratios}


def seconds_for(envs: VectorEnv, steps: int) -> float:
    """Return the duration [s] of `steps` random steps; drawing the actions is not included."""
    space: Any = envs.single_action_space
    shape = (steps, envs.num_envs, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, shape).astype(space.dtype)
    start = time.perf_counter()
    for action in actions:
        envs.step(action)
    return time.perf_counter() - start


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return one line for each env."""
    return "\n".join(
        f"{env}: {row['imagined']:,.0f} imagined steps/s, {row['real']:,.0f} real, {row['ratio']:.2f} times; "
        f"with reward {row['imagined_with_reward']:,.0f}, {row['ratio_with_reward']:.2f} times"
        for env, row in rows.items()
    )


if __name__ == "__main__":
    run_main(main)
