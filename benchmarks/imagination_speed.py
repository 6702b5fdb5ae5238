"""How fast a dream is beside reality: `python -m benchmarks.imagination_speed --env robossl/HopperHop-v0 --json`.

Steps a second of a world model's imagination, on the device, beside those of the env that it dreams of, on the CPU's
threads, in turns. The model has the size of the default and has learned for a few updates only: what it knows costs
nothing, its doubt is not asked (`max_disagreement=inf`), and it has no reward where the real env computes one.
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
from benchmarks.cli import answered
from benchmarks.training_speed import learner, machine
from robossl.training.config import thread_count
from robossl.world_model import WorldModelConfig
from robossl.world_model.device import resolve
from robossl.world_model.env import WorldModelEnv

_LIMIT = 10.0  # what we promise on CUDA with 4,096 envs
_ROWS = 20_000  # [steps] of the stream that the dream starts from


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument(
        "--env", nargs="+", default=["robossl/QuadrupedWalk-v0", "robossl/HumanoidWalk-v0"], metavar="ID"
    )
    parser.add_argument("--num-envs", type=int, default=4096, metavar="N", help="in both (4096)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="of one turn (20)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="turns of each row (5)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    threads, device = thread_count(given.threads), resolve(given.device)
    torch.set_num_threads(threads)
    rows = {env: compared(env, given, threads, device) for env in given.env}
    report = {"limit": _LIMIT, "machine": machine(device), "settings": vars(given), "rows": rows}
    print(json.dumps(report, indent=2) if given.json else table(rows))


def compared(env: str, given: argparse.Namespace, threads: int, device: torch.device) -> dict[str, float]:
    """Median steps a second of both, and the median ratio within a turn."""
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect(
            env, "colored_noise", _ROWS, f"{folder}/stream", num_envs=64, threads=threads
        )
        model = learner(stream, device, WorldModelConfig()).publish()
        dream = WorldModelEnv(model, stream, given.num_envs, horizon=1000, max_disagreement=math.inf)
        real = robossl.make(env, given.num_envs, threads)
        dream.reset(seed=0), real.reset(seed=0)
        rates: dict[str, list[float]] = {"dream": [], "real": []}
        for turn in range(given.turns + 1):
            for name, envs in (("dream", dream), ("real", real)):
                rate = given.num_envs * given.steps / lived(envs, given.steps)
                if turn:  # the first one warms up
                    rates[name].append(rate)
        real.close()
    ratio = statistics.median(a / b for a, b in zip(*rates.values()))
    return {
        **{name: round(statistics.median(found)) for name, found in rates.items()},
        "ratio": round(ratio, 2),
    }


def lived(envs: VectorEnv, steps: int) -> float:
    """[s] for so many random steps of all lanes, actions drawn before."""
    space: Any = envs.single_action_space
    random = np.random.default_rng(0)
    shape = (steps, envs.num_envs, *space.shape)
    actions = random.uniform(space.low, space.high, shape).astype(space.dtype)
    began = time.perf_counter()
    for action in actions:
        envs.step(action)
    return time.perf_counter() - began


def table(rows: dict[str, dict[str, float]]) -> str:
    """One line an env."""
    return "\n".join(
        f"{env}: {row['dream']:,.0f} imagined steps/s, {row['real']:,.0f} real, {row['ratio']:.2f} times"
        for env, row in rows.items()
    )


if __name__ == "__main__":
    answered(main)
