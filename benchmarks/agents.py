"""What an agent costs here beside Stable-Baselines3 by itself: `python benchmarks/agents.py`.

SAC on Pendulum, 8 lanes, one thread. Every row is measured in turns with the others in one run (so that a slow
moment of the machine hits all alike), as seconds of CPU time; prints medians, and ratios to SB3's own SAC with
its own replay buffer, as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from robossl.agents.planner import GoalPlanner
from robossl.agents.sb3.agent import Sb3Agent
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env

import robossl
from benchmarks.cli import run_main
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig

LANES, ENV = 8, "Pendulum-v1"
Run = Callable[..., Any]
Work = tuple[Callable[[], Any], int]  # what to do, and how many units it is
STEPS, UPDATES, SAMPLES, ACTS = 400, 20, 40, 40  # of one turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="turns of each row (7)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = make(Path(folder))
        report = {
            what: compare({name: row[what] for name, row in kinds.items()}, repeats)
            for what in ("sample a batch", "update", "act", "explore", "step and learn")
        }
    report["plan"] = compare(planners(), max(repeats // 2, 1))
    machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    print(json.dumps({"agents": report, "machine": {**machine, "repeats": repeats}}, indent=2))


def make(folder: Path) -> dict[str, dict[str, Work]]:
    """By row, by what is measured: the work, and how many units it is."""
    plain = SAC(
        "MlpPolicy", make_vec_env(ENV, LANES), gradient_steps=2, learning_starts=500, device="cpu", seed=0
    )
    known = partial(plain.predict, deterministic=True)
    rows = {"sb3": work(plain, known, plain.predict, partial(go_on, plain))}
    for name in ("raw", "representation"):
        envs = robossl.make(ENV, LANES, 1, autoreset_mode=AutoresetMode.DISABLED)
        recorder = Recorder.create(envs, folder / name)
        spaces = envs.single_observation_space, envs.single_action_space
        model = WorldModel(WorldModelConfig(), *spaces, 0).frozen_copy() if name == "representation" else None
        agent = Sb3Agent("sac", recorder, model, updates_per_step=0.25, device="cpu")
        known = partial(agent.act, explore=False)
        rows[name] = work(agent.algorithm, known, agent.act, partial(agent.learn, recorder))
    return rows


def go_on(algorithm: SAC, steps: int) -> None:
    """SB3's own learning, as often as one likes."""
    algorithm.learn(steps, reset_num_timesteps=False)


def work(algorithm: Any, act: Run, explore: Run, learn: Run) -> dict[str, Work]:
    """What one row does, after it has lived for a while."""
    learn(2000)
    seen = np.random.default_rng(0).normal(size=(LANES, 3)).astype(np.float32)
    return {
        "sample a batch": (lambda: [algorithm.replay_buffer.sample(256) for _ in range(SAMPLES)], SAMPLES),
        "update": (lambda: algorithm.train(UPDATES, 256), UPDATES),
        "act": (lambda: [act(seen) for _ in range(ACTS)], ACTS),
        "explore": (lambda: [explore(seen) for _ in range(ACTS)], ACTS),
        "step and learn": (lambda: learn(STEPS), STEPS),
    }


def planners() -> dict[str, Work]:
    """One decision of one lane, when one or sixteen lanes decide."""
    rows: dict[str, Work] = {}
    for lanes in (1, 16):
        envs = robossl.make("robossl/Reacher-v0", lanes, 1)
        spaces = envs.single_observation_space, envs.single_action_space
        planner = GoalPlanner(WorldModel(WorldModelConfig(), *spaces, 0).frozen_copy(), envs)
        observation, _ = envs.reset(seed=0)
        decisions = 2 * planner.planner.config.block
        rows[f"{lanes} lanes"] = (
            lambda p=planner, o=observation, d=decisions: [p.act(o) for _ in range(d)],  # type: ignore[misc]
            decisions * lanes,
        )
    return rows


def compare(rows: dict[str, Work], repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of CPU a unit, and as a ratio to the first row."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(repeats + 1):
        for name, (run, units) in rows.items():
            begin = time.process_time()
            run()
            if turn:  # the first one warms up
                times[name].append((time.process_time() - begin) / units * 1000)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return {name: {"ms": round(m, 4), "ratio": round(m / first, 3)} for name, m in medians.items()}


if __name__ == "__main__":
    run_main(main)
