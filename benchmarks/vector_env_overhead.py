"""Overhead per vector step of third-party envs, as JSON: `python -m benchmarks.vector_env_overhead CartPole-v1`.

Gymnasium's own sync vector env, the vector env of robossl, and the recording of random actions (policy, vector env,
stream) take turns in one process. The overhead is the time of a vector step beyond that of the plain vector env. Each
time is the least of many short turns: that of a turn which no other process disturbed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import SyncVectorEnv, VectorEnv

from robossl import registry
from robossl.core.interfaces import NullProgress
from robossl.rollout import collect_steps
from robossl.streams import Recorder

_ACTIONS = 64  # different actions of a turn without a policy


def stepping(envs: VectorEnv, num_steps: int) -> Callable[[], float]:
    """Return a function that takes `num_steps` vector steps and returns CPU seconds per step."""
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(_ACTIONS)]

    def turn() -> float:
        envs.reset(seed=0)
        start = time.process_time()
        for index in range(num_steps):
            envs.step(actions[index % _ACTIONS])
        return (time.process_time() - start) / num_steps

    return turn


def recording(envs: VectorEnv, num_steps: int, folder: Path) -> Callable[[], float]:
    """Return a function that records `num_steps` vector steps of random actions and returns CPU seconds per step."""
    policy = registry.policy("random")(envs.single_action_space, envs.num_envs, seed=0)
    recorder = Recorder.create(envs, folder)

    def turn() -> float:
        start = time.process_time()
        collect_steps(recorder, policy, num_steps * envs.num_envs, 0, NullProgress())
        return (time.process_time() - start) / num_steps

    return turn


def measure(env: str, num_envs: int, turns: int, num_steps: int, folder: Path) -> dict[str, Any]:
    """Return the least over turns: microseconds per vector step, ratios and overheads over the plain vector env."""
    plain = SyncVectorEnv([lambda: gym.make(env)] * num_envs)
    with closing(plain), closing(registry.make_envs(env, num_envs, vectorization="sync")) as envs:
        kinds = {
            "plain": stepping(plain, num_steps),
            "vector_env": stepping(envs, num_steps),
            "recorded": recording(envs, num_steps, folder / f"{num_envs}"),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(turns):
            for kind, turn in kinds.items():
                times[kind].append(1e6 * turn())
    result: dict[str, Any] = {"env": env, "num_envs": num_envs, "turns": turns, "steps": num_steps}
    plain_us = min(times["plain"])
    for kind, values in times.items():
        result[f"{kind}_us"] = round(min(values), 1)
        if kind != "plain":
            result[f"{kind}_ratio"] = round(min(values) / plain_us, 2)
            result[f"{kind}_overhead_us"] = round(min(values) - plain_us, 1)
    return result


def main() -> None:
    """Measure and print one JSON object per number of sub-environments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("env", metavar="ID", nargs="*", default=["CartPole-v1"])
    parser.add_argument("--num-envs", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200, help="vector steps of a turn")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for env in options.env:
            for num_envs in options.num_envs:
                place = Path(folder) / env.replace("/", "-")
                print(json.dumps(measure(env, num_envs, options.turns, options.steps, place)), flush=True)


if __name__ == "__main__":
    main()
