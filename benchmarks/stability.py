"""Ten simulated minutes of random actions in every task: `python -m benchmarks.stability --markdown`.

Runs eight sub-environments without a time limit, and so without resets: ten minutes with nominal parameters, and one
minute each with randomization "train" and "test". Counts steps with a physics error, and observed numbers that are not
finite or outside the observation space; prints the range of the rewards. Exits with 1 if any count is not zero.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import robossl.envs

from benchmarks.cli import run_main
from robossl.core.spaces import flatten_by_path, leaves

_NUM_ENVS = 8
_RANDOMIZATION = {None: 1.0, "train": 0.1, "test": 0.1}  # presets and their fraction of the time


def main() -> None:
    """Run the tasks and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=600.0,
        metavar="S",
        help="simulated time, all sub-environments together (600)",
    )
    parser.add_argument(
        "--task", nargs="+", metavar="NAME", help="task names such as HandTurn (default: all)"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table instead of JSON")
    args = parser.parse_args()
    ids = [i for i in robossl.envs.register() if gym.spec(i).max_episode_steps]
    selected = [i for i in ids if args.task is None or i[len("robossl/") : -len("-v0")] in args.task]
    rows = [
        run_random_actions(env_id, randomization, fraction * args.seconds)
        for env_id in selected
        for randomization, fraction in _RANDOMIZATION.items()
    ]
    print(table(rows) if args.markdown else json.dumps({"rows": rows}, indent=2))
    sys.exit(int(any(row["physics_errors"] or row["invalid_numbers"] for row in rows)))


def run_random_actions(env_id: str, randomization: str | None, seconds: float) -> dict[str, Any]:
    """Return the counts and the reward range of `seconds` simulated seconds, all sub-environments together."""
    envs = gym.make_vec(env_id, num_envs=_NUM_ENVS, max_episode_steps=None, randomization=randomization)
    random, space = np.random.default_rng(0), envs.single_observation_space
    steps = round(seconds / _NUM_ENVS / envs.metadata["step_seconds"])
    counts: dict[str, Any] = {
        "env": env_id,
        "randomization": randomization or "nominal",
        "steps": steps * _NUM_ENVS,
    }
    counts |= {"physics_errors": 0, "invalid_numbers": 0, "terminations": 0}
    low, high = np.inf, -np.inf
    envs.reset(seed=0)
    for _ in range(steps):
        actions = random.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, terminated, _, infos = envs.step(actions)
        low, high = min(low, float(reward.min())), max(high, float(reward.max()))
        counts["physics_errors"] += int(infos["physics_error"].sum())
        counts["terminations"] += int(terminated.sum())
        for path, values in flatten_by_path(space, observation).items():
            leaf: Any = leaves(space)[path]
            valid = (values >= leaf.low) & (values <= leaf.high)  # false for NaN
            counts["invalid_numbers"] += int((~valid).sum())
    envs.close()
    return {**counts, "reward": [round(low, 3), round(high, 3)]}


def table(rows: list[dict[str, Any]]) -> str:
    """Return one line per task and randomization preset."""
    lines = [
        "| task | randomization | steps | reward | physics errors | invalid numbers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        name = row["env"].partition("/")[2].removesuffix("-v0")
        low, high = row["reward"]
        lines.append(
            f"| {name} | {row['randomization']} | {row['steps']:,} | {low:.2f} to {high:.2f} | "
            f"{row['physics_errors']} | {row['invalid_numbers']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
