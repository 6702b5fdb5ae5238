"""Random play for ten simulated minutes of every task: `python -m benchmarks.stability --markdown`.

Eight lanes of uniformly random actions, without a time limit and so without resets, in the nominal world, and a minute
each in worlds drawn from "train" and "test". Counts steps at which the physics broke, and observed numbers that are not
finite or outside their space; tells between what rewards lay. Exits with 1 where anything was counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import robossl.envs

from benchmarks.cli import answered
from robossl.core.spaces import flatten_by_path, leaves

_LANES = 8
_WORLDS = {None: 1.0, "train": 0.1, "test": 0.1}  # variations, and their share of the time


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=600.0, metavar="S", help="simulated, all lanes (600)"
    )
    parser.add_argument("--task", nargs="+", metavar="NAME", help="of these tasks only, e.g. HandTurn (all)")
    parser.add_argument("--markdown", action="store_true", help="a table instead of JSON")
    given = parser.parse_args()
    ids = [i for i in robossl.envs.register() if gym.spec(i).max_episode_steps]
    wanted = [i for i in ids if given.task is None or i[len("robossl/") : -len("-v0")] in given.task]
    rows = [played(i, world, share * given.seconds) for i in wanted for world, share in _WORLDS.items()]
    print(table(rows) if given.markdown else json.dumps({"rows": rows}, indent=2))
    sys.exit(int(any(row["broke"] or row["wrong_numbers"] for row in rows)))


def played(env_id: str, world: str | None, seconds: float) -> dict[str, Any]:
    """What so many simulated seconds, all lanes together, brought."""
    envs = gym.make_vec(env_id, num_envs=_LANES, max_episode_steps=None, variations=world)
    random, space = np.random.default_rng(0), envs.single_observation_space
    steps = round(seconds / _LANES / envs.metadata["step_seconds"])
    found: dict[str, Any] = {"env": env_id, "world": world or "nominal", "steps": steps * _LANES}
    found |= {"broke": 0, "wrong_numbers": 0, "ended": 0}
    low, high = np.inf, -np.inf
    envs.reset(seed=0)
    for _ in range(steps):
        actions = random.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, terminated, _, infos = envs.step(actions)
        low, high = min(low, float(reward.min())), max(high, float(reward.max()))
        found["broke"] += int(infos["failure"].sum())
        found["ended"] += int(terminated.sum())
        for path, values in flatten_by_path(space, observation).items():
            leaf: Any = leaves(space)[path]
            found["wrong_numbers"] += int((~((values >= leaf.low) & (values <= leaf.high))).sum())  # NaN too
    envs.close()
    return {**found, "reward": [round(low, 3), round(high, 3)]}


def table(rows: list[dict[str, Any]]) -> str:
    """One line a task and kind of world."""
    lines = [
        "| task | world | steps | reward | broke | wrong numbers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        name = row["env"].partition("/")[2].removesuffix("-v0")
        low, high = row["reward"]
        lines.append(
            f"| {name} | {row['world']} | {row['steps']:,} | {low:.2f} to {high:.2f} | {row['broke']} | "
            f"{row['wrong_numbers']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    answered(main)
