"""How fast the envs are, beside what they stand on: `python -m benchmarks.simulation --json`.

Everything is a ratio of two things done in turn in one run, so that a slow moment of the machine hits both:
a vector env beside bare `Batch.step` with the same model, states and actions; beside Gymnasium's SyncVectorEnv
on Gymnasium's own HalfCheetah; and pictures of 64x64 pixels beside Gymnasium's default renderer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import robossl.envs
from robossl.envs.foreign import make_foreign

_STEPS = 40  # control steps of one round, within every time limit
_SIZE = (64, 64)  # [pixels] height and width
_TASKS = ("Reacher", "CartPoleSwingUp", "PointMaze", "PushT", "CheetahRun", "HopperHop", "WalkerRun")
_LIMITS = {"to_bare_batch": 0.85, "to_gymnasium_sync": 3.0, "to_gymnasium_pictures": 20.0}  # what we promise


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="lanes (64)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads (2)")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="rounds of 40 steps (15)")
    given = parser.parse_args()
    ids = robossl.envs.register()
    wanted = [f"robossl/{name}-v0" for name in _TASKS]
    report: dict[str, Any] = {
        "to_bare_batch": {i: beside_bare(i, given) for i in wanted if i in ids},
        "to_gymnasium_sync": beside_sync(given),
        "to_gymnasium_pictures": pictures(),
        "limits": _LIMITS,
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "num_envs": given.num_envs,
            "threads": given.threads,
            "rounds": given.rounds,
        },
    }
    print(json.dumps(report, indent=2) if given.json else table(report))


def table(report: dict[str, Any]) -> str:
    """One line a ratio."""
    lines = []
    for section in ("to_bare_batch", "to_gymnasium_sync", "to_gymnasium_pictures"):
        lines.append(f"{section} (promised: {_LIMITS[section]:g})")
        for name, row in report[section].items():
            rates = ", ".join(f"{key} {value:,.0f}" for key, value in row.items() if key != "ratio")
            lines.append(f"  {name:32} {row['ratio']:6.2f}  {rates}")
    return "\n".join(lines)


def beside_bare(env_id: str, given: argparse.Namespace) -> dict[str, float]:
    """Environment steps a second of a native vector env and of Batch.step alone, on the same physics."""
    envs = gym.make_vec(env_id, num_envs=given.num_envs, nthread=given.threads)
    simulation = envs.unwrapped.simulation  # type: ignore[attr-defined]
    from mujoco.batch import Batch

    bare = Batch(simulation.model, given.num_envs, given.threads)
    control, substeps = bare.bind("ctrl"), simulation.task.body.substeps
    actions = _actions(envs)

    def theirs() -> None:
        for action in actions:
            control[:] = action
            bare.step(None, substeps)

    def prepare() -> None:
        envs.reset()
        bare.state[:] = simulation.physics()

    envs.reset(seed=0)
    row = _race(
        partial(_live, envs, actions), theirs, given.rounds, _STEPS * given.num_envs, "batch", prepare
    )
    envs.close()
    return row


def beside_sync(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The same robot, Gymnasium's HalfCheetah, in SyncVectorEnv and as a native env of its MJCF file."""
    theirs = make_foreign("HalfCheetah-v5", given.num_envs, vectorization="sync")
    single: Any = theirs.env.envs[0].unwrapped  # type: ignore[attr-defined]
    settings = {"model": single.fullpath, "substeps": single.frame_skip}
    ours = gym.make_vec(
        "robossl/Mjcf-v0", num_envs=given.num_envs, nthread=given.threads, max_episode_steps=1000, **settings
    )
    actions = _actions(ours)
    ours.reset(seed=0), theirs.reset(seed=0)
    row = _race(
        partial(_live, ours, actions),
        partial(_live, theirs, actions),
        max(3, given.rounds // 3),
        _STEPS * given.num_envs,
        "sync",
    )
    ours.close(), theirs.close()
    return {"HalfCheetah-v5": row}


def _live(envs: gym.vector.VectorEnv, actions: np.ndarray) -> None:
    for action in actions:
        envs.step(action)


def pictures() -> dict[str, dict[str, float]]:
    """Pictures a second of HalfCheetah, and of our own bodies beside it."""
    size = {"height": _SIZE[0], "width": _SIZE[1]}
    theirs = make_foreign("HalfCheetah-v5", 1, render_mode="rgb_array", **size)
    single: Any = theirs.env.envs[0].unwrapped  # type: ignore[attr-defined]
    theirs.reset(seed=0)
    same = {"robossl/Mjcf-v0": {"model": single.fullpath, "substeps": single.frame_skip}}
    rows = {}
    for env_id, settings in (same | {"robossl/CheetahRun-v0": {}, "robossl/Reacher-v0": {}}).items():
        ours = gym.make_vec(env_id, num_envs=16, pixels=_SIZE, **settings)
        ours.reset(seed=0)
        row = _race(
            partial(_look, ours.unwrapped, 4), partial(_draw, theirs, 4), 3, 64, "gymnasium", other_count=4
        )
        rows["HalfCheetah-v5" if env_id in same else env_id] = row
        ours.close()
    theirs.close()
    return rows


def _look(envs: Any, times: int) -> None:
    for _ in range(times):
        envs.observation()


def _draw(envs: Any, times: int) -> None:
    for _ in range(times):
        envs.render_frame(0)


def _actions(envs: gym.vector.VectorEnv) -> np.ndarray:
    """(T, n, A) at random."""
    shape = (_STEPS, *(envs.action_space.shape or ()))
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _race(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    rounds: int,
    count: int,
    other: str,
    prepare: Callable[[], None] = lambda: None,
    other_count: int | None = None,
) -> dict[str, float]:
    """Medians over rounds of `count` each way, and of the ratio within a round."""
    rates: dict[str, list[float]] = {"robossl": [], other: []}
    prepare()
    ours(), theirs()
    for _ in range(rounds):
        prepare()
        for name, run, done in (("robossl", ours, count), (other, theirs, other_count or count)):
            began = time.perf_counter()
            run()
            rates[name].append(done / (time.perf_counter() - began))
    ratios = [a / b for a, b in zip(rates["robossl"], rates[other])]
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {"ratio": round(statistics.median(ratios), 3), **medians}


if __name__ == "__main__":
    main()
