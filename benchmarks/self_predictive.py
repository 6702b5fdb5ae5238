"""Learning curves of the self-predictive agent beside SAC: `python -m benchmarks.self_predictive --help`.

Rows: `sac`, `self-predictive`, and `self-predictive, stream`, which first gets a reward-free stream of colored noise.
All rows of a seed are evaluated on the same episodes. Prints JSON; with --out it is also written into a file, and
finished curves, in FILE.parts, are not measured again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

import robossl
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, folder_beside, result_of, run_parts
from robossl import registry
from robossl.core.interfaces import NullProgress
from robossl.core.io import write_json
from robossl.core.seeding import derive
from robossl.evaluation.control import evaluate_returns
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream

ROWS = ("sac", "self-predictive", "self-predictive, stream")


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="HalfCheetah-v5", help="env id (HalfCheetah-v5)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS[:2], help="what is trained")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--steps", type=int, default=25_000, help="env steps with reward (25,000)")
    parser.add_argument("--evaluate-every", type=int, default=5000, metavar="STEPS", help="(5,000)")
    parser.add_argument("--episodes", type=int, default=10, help="episodes of an evaluation (10)")
    parser.add_argument("--num-envs", type=int, default=8, metavar="N", help="sub-environments (8)")
    parser.add_argument("--updates-per-step", type=float, default=1.0, metavar="X", help="(1)")
    parser.add_argument(
        "--learning-starts", type=int, metavar="STEPS", help="random steps (the agent's default)"
    )
    parser.add_argument("--stream-steps", type=int, default=50_000, metavar="STEPS", help="(50,000)")
    parser.add_argument(
        "--stream-updates", type=int, default=2000, metavar="N", help="updates on the stream (2,000)"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of the self-predictive agent")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="JSON file")
    add_engine_flags(parser)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "env": arguments.env, "updates_per_step": arguments.updates_per_step, "num_envs": arguments.num_envs,
        "episodes": arguments.episodes, "settings": arguments.settings, "curves": [],
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()},
    }  # fmt: skip
    with folder_beside(arguments.out) as folder:
        arguments.folder = str(folder)
        rows = [(row, seed) for seed in arguments.seeds for row in arguments.rows]
        parts = [Part("measure_curve", pair) for pair in rows]
        run_parts("benchmarks.self_predictive", parts, arguments, Path(folder), ("rows", "seeds", "folder"))
        report["curves"] = [result_of(Path(folder), f"{row} {seed}") for row, seed in rows]
    if arguments.out is not None:
        write_json(arguments.out, report)
    print(json.dumps(report, indent=2))


def measure_curve(arguments: argparse.Namespace, row: str, seed: int) -> None:
    """Measure the curve of an agent, unless it was measured before."""

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return measure(arguments, row, seed, Path(folder))

    result_of(Path(arguments.folder), f"{row} {seed}", run)


def measure(arguments: argparse.Namespace, row: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one agent, and return its curve of [env steps, mean return, standard deviation, seconds of training]."""
    curve: dict[str, Any] = {"row": row, "seed": seed, "points": []}
    name, _, with_stream = row.partition(", ")
    settings = {"updates_per_step": arguments.updates_per_step}
    if arguments.learning_starts is not None and not with_stream:
        settings["learning_starts"] = arguments.learning_starts
    if name == "self-predictive":
        settings |= arguments.settings
    stream = reward_free_stream(arguments, seed, folder) if with_stream else None
    given = {"stream": stream, "stream_reward": False} if stream else {}
    envs = robossl.make(arguments.env, arguments.num_envs, 1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, folder / "agent")
    agent = registry.agent(name)(recorder, seed=seed, device=arguments.device, **given, **settings)
    held_out = robossl.make(arguments.env, min(arguments.episodes, arguments.num_envs), 1)
    seconds = 0.0
    for steps in range(0, arguments.steps + 1, arguments.evaluate_every):
        start = time.perf_counter()
        if steps:
            agent.learn(recorder, arguments.evaluate_every)
        elif stream:
            agent.learn_offline(arguments.stream_updates)
        seconds += time.perf_counter() - start
        returns = evaluate_returns(held_out, agent, arguments.episodes, derive(seed, "benchmark")).returns
        curve["points"].append([steps, float(returns.mean()), float(returns.std()), round(seconds, 1)])
        print(json.dumps({**curve, "points": curve["points"][-1:]}), file=sys.stderr, flush=True)
    recorder.close()
    held_out.close()
    return curve


def reward_free_stream(arguments: argparse.Namespace, seed: int, folder: Path) -> Stream:
    """Return a stream of colored noise; its rewards are not used."""
    envs = robossl.make(arguments.env, arguments.num_envs, 1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, folder / "explored", policy="colored_noise", seed=seed)
    policy = registry.policy("colored_noise")(envs.single_action_space, arguments.num_envs, seed=seed)
    collect_steps(recorder, policy, arguments.stream_steps, seed + 1000, NullProgress())
    recorder.close()
    return Stream.open(folder / "explored")


if __name__ == "__main__":
    run_main(main)
