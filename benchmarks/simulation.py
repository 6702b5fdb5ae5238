"""How fast the envs are, beside what they stand on: `python -m benchmarks.simulation --json`.

Everything is a ratio of two things done in turn in one run, so that a slow moment of the machine hits both:
every task's vector env beside bare `Batch.step` with the same model, states and actions; Gymnasium's own
HalfCheetah beside 16 lanes of it in Gymnasium's SyncVectorEnv and, with `--envpool PYTHON`, beside EnvPool in a
Python that has it; and pictures of 64x64 pixels beside Gymnasium's default renderer. And the memory of 1,024 lanes
of the largest body.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import robossl.envs
from robossl.envs.engine.gymnasium_envs import make_gymnasium_envs

from benchmarks.cli import answered
from robossl.core.errors import unknown_name_error

_STEPS = 120  # control steps of a turn, within every time limit; the first few of a turn find cold caches
_SIZE = (64, 64)  # [pixels] height and width
_SYNC_LANES = 16
_MEMORY_LANES = 1024
_PROMISED = {  # the least each ratio is to be
    "to_bare_batch": 0.75,
    "to_gymnasium_sync": 3.0,
    "to_envpool": 1.0,
    "to_gymnasium_pictures": 20.0,
}
_PROMISED_TASKS = {("to_bare_batch", "robossl/CheetahRun-v0"): 0.85}  # instead of that of the section
_MEBIBYTES = 1024.0  # the most memory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--task", nargs="+", metavar="NAME", help="tasks beside the bare batch (all)")
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="lanes (64)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads (2)")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help=f"rounds of {_STEPS} steps (15)")
    parser.add_argument("--envpool", metavar="PYTHON", help="a Python that has EnvPool")
    given = parser.parse_args()
    ids = robossl.envs.register()
    tasks = {i[len("robossl/") : -len("-v0")]: i for i in ids}
    for name in given.task or ():
        if name not in tasks:
            parser.error(str(unknown_name_error("task", name, tasks)))
    wanted = [i for name, i in tasks.items() if given.task is None or name in given.task]
    report: dict[str, Any] = {
        "to_bare_batch": {i: beside_bare(i, given) for i in wanted},
        "to_gymnasium_sync": beside_sync(given),
        "to_envpool": beside_envpool(given),
        "to_gymnasium_pictures": pictures(),
        "memory": memory(ids),
        "promised": _PROMISED | {name: least for (_, name), least in _PROMISED_TASKS.items()},
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "num_envs": given.num_envs,
            "threads": given.threads,
            "rounds": given.rounds,
        },
    }
    report["below"] = below(report)
    print(json.dumps(report, indent=2) if given.json else table(report))


def below(report: dict[str, Any]) -> list[str]:
    """What does not keep its promise."""
    found = []
    for section in ("to_bare_batch", "to_gymnasium_sync", "to_envpool", "to_gymnasium_pictures"):
        for name, row in report[section].items():
            if "ratio" in row and row["ratio"] < _PROMISED_TASKS.get((section, name), _PROMISED[section]):
                found.append(f"{section}: {name}")
    if report["memory"]["mebibytes"] >= _MEBIBYTES:
        found.append("memory")
    return found


def table(report: dict[str, Any]) -> str:
    """One line a ratio."""
    lines = []
    for section in ("to_bare_batch", "to_gymnasium_sync", "to_envpool", "to_gymnasium_pictures"):
        lines.append(f"{section} (promised: {_PROMISED[section]:g})")
        for name, row in report[section].items():
            rates = ", ".join(f"{key} {value:,.0f}" for key, value in row.items() if isinstance(value, float))
            lines.append(f"  {name:34} {row.get('ratio', float('nan')):6.2f}  {row.get('absent', rates)}")
    lines.append(f"memory: {report['memory']['mebibytes']} MiB, {report['memory']['env']}")
    return "\n".join([*lines, f"below what is promised: {', '.join(report['below']) or 'nothing'}"])


def beside_bare(env_id: str, given: argparse.Namespace) -> dict[str, float]:
    """Environment steps a second of a native vector env and of Batch.step alone, on the same physics."""
    envs = gym.make_vec(env_id, num_envs=given.num_envs, nthread=given.threads)
    simulation = envs.unwrapped.simulation  # type: ignore[attr-defined]
    from mujoco.batch import Batch

    bare = Batch(simulation.model, given.num_envs, given.threads)
    control, substeps = bare.bind("ctrl"), simulation.task.body.substeps
    actions = _actions(envs)
    controls = [np.array(simulation.control(action)) for action in actions]

    def theirs() -> None:
        for given_to in controls:
            control[:] = given_to
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


def _half_cheetah(lanes: int, threads: int, theirs: gym.vector.VectorEnv) -> gym.vector.VectorEnv:
    """The robot of Gymnasium's HalfCheetah `theirs` as a native batch of its MJCF file."""
    settings = {"max_episode_steps": 1000, "num_envs": lanes, "nthread": threads, **_same_robot(theirs)}
    return gym.make_vec("robossl/Mjcf-v0", **settings)


def _same_robot(theirs: Any) -> dict[str, Any]:
    """What robossl/Mjcf-v0 is to be given to be the robot of Gymnasium's env."""
    single: Any = theirs.env.envs[0].unwrapped
    return {"model": single.fullpath, "substeps": single.frame_skip}


def beside_sync(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The same robot, and our own cheetah, in 16 lanes and in `--num-envs`, beside 16 lanes in SyncVectorEnv."""
    rows = {}
    theirs = make_gymnasium_envs("HalfCheetah-v5", _SYNC_LANES, vectorization="sync")
    theirs.reset(seed=0)
    sync = partial(_live, theirs, _actions(theirs))
    for lanes in dict.fromkeys((_SYNC_LANES, given.num_envs)):
        half = _half_cheetah(lanes, given.threads, theirs)
        cheetah = gym.make_vec("robossl/CheetahRun-v0", num_envs=lanes, nthread=given.threads)
        for name, envs in {"HalfCheetah-v5": half, "robossl/CheetahRun-v0": cheetah}.items():
            envs.reset(seed=0)
            live, count = partial(_live, envs, _actions(envs)), _STEPS * lanes
            row = _race(live, sync, given.rounds, count, "sync", other_count=_STEPS * _SYNC_LANES)
            rows[f"{name}, {lanes} lanes"] = row
            envs.close()
    theirs.close()
    return rows


def beside_envpool(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The same robot in EnvPool, in a process of its own that steps when it is told to."""
    if given.envpool is None:
        return {"HalfCheetah": {"absent": "not measured: give --envpool PYTHON, a Python that has EnvPool"}}
    script = str(Path(__file__).with_name("envpool_rate.py"))
    command = [given.envpool, script, str(given.num_envs), str(given.threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pool:
        assert pool.stdin is not None
        assert pool.stdout is not None
        hello = json.loads(pool.stdout.readline() or '{"absent": "EnvPool did not start"}')
        if "absent" in hello:
            return {"HalfCheetah": hello}
        theirs = make_gymnasium_envs("HalfCheetah-v5", 1, vectorization="sync")
        ours = _half_cheetah(given.num_envs, given.threads, theirs)
        theirs.close()
        actions = _actions(ours)
        ours.reset(seed=0)

        def steps() -> None:
            print(_STEPS, file=pool.stdin, flush=True)
            pool.stdout.readline()  # type: ignore[union-attr]

        count = _STEPS * given.num_envs
        row = _race(partial(_live, ours, actions), steps, given.rounds, count, "envpool")
        ours.close()
        pool.stdin.close()
    return {"HalfCheetah": row | hello}


def memory(ids: list[str]) -> dict[str, Any]:
    """Of 1,024 lanes of the body with the most joints, in a process of its own."""
    joints = {i: gym.make_vec(i, num_envs=1).unwrapped.simulation.model.nq for i in ids}  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "benchmarks.vector_env_memory", max(ids, key=joints.__getitem__)]
    done = subprocess.run([*command, str(_MEMORY_LANES)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _live(envs: gym.vector.VectorEnv, actions: np.ndarray) -> None:
    for action in actions:
        envs.step(action)


def pictures() -> dict[str, dict[str, float]]:
    """Pictures a second of HalfCheetah, and of our own bodies beside it."""
    size = {"height": _SIZE[0], "width": _SIZE[1]}
    theirs = make_gymnasium_envs("HalfCheetah-v5", 1, render_mode="rgb_array", **size)
    theirs.reset(seed=0)
    same = {"robossl/Mjcf-v0": _same_robot(theirs)}
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
    answered(main)
