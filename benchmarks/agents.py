"""Cost of the agents compared with Stable-Baselines3 alone: `python -m benchmarks.agents`.

SAC on Pendulum, 8 sub-environments, one thread. The rows are measured in turns in one process, so that a slow moment of
the machine affects all of them, as CPU time. Prints medians, and ratios to SB3 with its own replay buffer, as JSON.
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
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env

import robossl
from benchmarks.cli import run_main
from robossl import registry
from robossl.core.agent_observation import ENCODERS
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig

NUM_ENVS, ENV = 8, "Pendulum-v1"
Run = Callable[..., Any]
Task = tuple[Callable[[], Any], int]  # what to measure, and its number of units
STEPS, UPDATES, SAMPLES, ACTS = 400, 20, 40, 40  # units of one turn
MEASURED = ("sample a batch", "update", "act", "explore", "step and learn")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="turns of each row (7)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(Path(folder))
        report = {
            name: compare({row: tasks[name] for row, tasks in rows.items()}, repeats) for name in MEASURED
        }
    report["plan"] = compare(planner_tasks(), max(repeats // 2, 1))
    machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    print(json.dumps({"agents": report, "machine": {**machine, "repeats": repeats}}, indent=2))


def make_rows(folder: Path) -> dict[str, dict[str, Task]]:
    """Return the tasks of SB3 alone and of SAC with each encoder mode."""
    plain = SAC(
        "MlpPolicy", make_vec_env(ENV, NUM_ENVS), gradient_steps=2, learning_starts=500, device="cpu", seed=0
    )
    deterministic = partial(plain.predict, deterministic=True)
    rows = {"sb3": make_tasks(plain, deterministic, plain.predict, partial(learn_more, plain))}
    for encoder in ENCODERS:
        envs = robossl.make(ENV, NUM_ENVS, 1, autoreset_mode=AutoresetMode.DISABLED)
        recorder = Recorder.create(envs, folder / encoder)
        spaces = envs.single_observation_space, envs.single_action_space
        model = None if encoder == "none" else WorldModel(WorldModelConfig(), *spaces, 0).frozen_copy()
        agent = registry.agent("sac")(recorder, model, encoder=encoder, device="cpu")
        deterministic = partial(agent.act, explore=False)
        rows[encoder] = make_tasks(agent.algorithm, deterministic, agent.act, partial(agent.learn, recorder))
    return rows


def learn_more(algorithm: SAC, steps: int) -> None:
    """Continue SB3's own training."""
    algorithm.learn(steps, reset_num_timesteps=False)


def make_tasks(algorithm: Any, act: Run, explore: Run, learn: Run) -> dict[str, Task]:
    """Return what is measured of one row, after some training."""
    learn(2000)
    observation = np.random.default_rng(0).normal(size=(NUM_ENVS, 3)).astype(np.float32)
    return {
        "sample a batch": (lambda: [algorithm.replay_buffer.sample(256) for _ in range(SAMPLES)], SAMPLES),
        "update": (lambda: algorithm.train(UPDATES, 256), UPDATES),
        "act": (lambda: [act(observation) for _ in range(ACTS)], ACTS),
        "explore": (lambda: [explore(observation) for _ in range(ACTS)], ACTS),
        "step and learn": (lambda: learn(STEPS), STEPS),
    }


def planner_tasks() -> dict[str, Task]:
    """Return one decision of one sub-environment, planned alone or with 15 others."""
    rows: dict[str, Task] = {}
    for num_envs in (1, 16):
        envs = robossl.make("robossl/Reacher-v0", num_envs, 1)
        spaces = envs.single_observation_space, envs.single_action_space
        planner = GoalPlanner(envs, WorldModel(WorldModelConfig(), *spaces, 0).frozen_copy())
        observation, _ = envs.reset(seed=0)
        decisions = 2 * planner.planner.config.action_repeat
        rows[f"num_envs {num_envs}"] = (
            lambda p=planner, o=observation, d=decisions: [p.act(o) for _ in range(d)],  # type: ignore[misc]
            decisions * num_envs,
        )
    return rows


def compare(rows: dict[str, Task], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median CPU time of one unit [ms], and its ratio to the first row."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(repeats + 1):
        for name, (run, units) in rows.items():
            start = time.process_time()
            run()
            if turn:  # the first turn warms up
                times[name].append((time.process_time() - start) / units * 1000)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return {name: {"ms": round(m, 4), "ratio": round(m / first, 3)} for name, m in medians.items()}


if __name__ == "__main__":
    run_main(main)
