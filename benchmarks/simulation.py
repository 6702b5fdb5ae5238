"""Speed and memory of the envs: `python -m benchmarks.simulation --json`.

All speeds are ratios of two programs that run in turn, so that a slow moment of the machine affects both:

* each task's vector env over bare `Batch.step` with the same model, states and actions;
* Gymnasium's HalfCheetah, and CheetahRun, over 16 HalfCheetahs in Gymnasium's SyncVectorEnv;
* HalfCheetah over EnvPool, with `--envpool PYTHON`, a Python that has EnvPool;
* images of 64x64 pixels over Gymnasium's default renderer.

The memory is that of 1,024 sub-environments of the robot with the most joints.
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

from benchmarks.cli import run_main
from robossl.core.errors import unknown_name_error

_STEPS = 120  # control steps of a turn, below every time limit; the first few run with cold caches
_SIZE = (64, 64)  # [pixels] height and width
_SYNC_NUM_ENVS = 16
_MEMORY_NUM_ENVS = 1024
_TARGETS = {  # the smallest acceptable ratio of each section
    "to_bare_batch": 0.75,
    "to_gymnasium_sync": 3.0,
    "to_envpool": 1.0,
    "to_gymnasium_images": 20.0,
}
_TASK_TARGETS = {("to_bare_batch", "robossl/CheetahRun-v0"): 0.85}  # in place of the target of the section
_MAX_MEBIBYTES = 1024.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--task", nargs="+", metavar="NAME", help="tasks compared with the bare batch (default: all)"
    )
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="sub-environments (64)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="simulator threads (2)")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help=f"rounds of {_STEPS} steps (15)")
    parser.add_argument("--envpool", metavar="PYTHON", help="compare with EnvPool in this Python")
    args = parser.parse_args()
    ids = robossl.envs.register()
    tasks = {i[len("robossl/") : -len("-v0")]: i for i in ids}
    for name in args.task or ():
        if name not in tasks:
            parser.error(str(unknown_name_error("task", name, tasks)))
    selected = [i for name, i in tasks.items() if args.task is None or name in args.task]
    report: dict[str, Any] = {
        "to_bare_batch": {i: compare_with_bare_batch(i, args) for i in selected},
        "to_gymnasium_sync": compare_with_sync(args),
        "to_envpool": compare_with_envpool(args),
        "to_gymnasium_images": compare_images(),
        "memory": measure_memory(ids),
        "targets": _TARGETS | {name: target for (_, name), target in _TASK_TARGETS.items()},
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "num_envs": args.num_envs,
            "threads": args.threads,
            "rounds": args.rounds,
        },
    }
    report["below_target"] = below_target(report)
    print(json.dumps(report, indent=2) if args.json else table(report))


def below_target(report: dict[str, Any]) -> list[str]:
    """Return the names of the results that miss their target."""
    names = []
    for section in ("to_bare_batch", "to_gymnasium_sync", "to_envpool", "to_gymnasium_images"):
        for name, row in report[section].items():
            if "ratio" in row and row["ratio"] < _TASK_TARGETS.get((section, name), _TARGETS[section]):
                names.append(f"{section}: {name}")
    if report["memory"]["mebibytes"] >= _MAX_MEBIBYTES:
        names.append("memory")
    return names


def table(report: dict[str, Any]) -> str:
    """Return the report as text, one line per ratio."""
    lines = []
    for section in ("to_bare_batch", "to_gymnasium_sync", "to_envpool", "to_gymnasium_images"):
        lines.append(f"{section} (target: {_TARGETS[section]:g})")
        for name, row in report[section].items():
            rates = ", ".join(
                f"{key} {value:,.0f}"
                for key, value in row.items()
                if key != "ratio" and isinstance(value, float)
            )
            lines.append(f"  {name:34} {row.get('ratio', float('nan')):6.2f}  {row.get('missing', rates)}")
    lines.append(f"memory: {report['memory']['mebibytes']} MiB, {report['memory']['env']}")
    return "\n".join([*lines, f"below target: {', '.join(report['below_target']) or 'none'}"])


def compare_with_bare_batch(env_id: str, args: argparse.Namespace) -> dict[str, float]:
    """Return the steps per second of a native vector env and of bare Batch.step, on the same physics."""
    envs = gym.make_vec(env_id, num_envs=args.num_envs, nthread=args.threads)
    simulation = envs.unwrapped.simulation  # type: ignore[attr-defined]
    from mujoco.batch import Batch

    bare = Batch(simulation.model, args.num_envs, args.threads)
    control, substeps = bare.bind("ctrl"), simulation.task.robot.substeps
    actions = _actions(envs)
    controls = [np.array(simulation.control(action)) for action in actions]

    def step_bare() -> None:
        for action in controls:
            control[:] = action
            bare.step(None, substeps)

    def prepare() -> None:
        envs.reset()
        bare.state[:] = simulation.get_physics_state()

    envs.reset(seed=0)
    row = _compare_rates(
        partial(_run_steps, envs, actions), step_bare, args.rounds, _STEPS * args.num_envs, "batch", prepare
    )
    envs.close()
    return row


def _half_cheetah(num_envs: int, threads: int, gymnasium_envs: gym.vector.VectorEnv) -> gym.vector.VectorEnv:
    """Return the robot of Gymnasium's HalfCheetah as a native batch of its MJCF file."""
    settings = {
        "max_episode_steps": 1000,
        "num_envs": num_envs,
        "nthread": threads,
        **_mjcf_settings(gymnasium_envs),
    }
    return gym.make_vec("robossl/Mjcf-v0", **settings)


def _mjcf_settings(gymnasium_envs: Any) -> dict[str, Any]:
    """Return the settings with which robossl/Mjcf-v0 simulates the robot of Gymnasium's env."""
    single: Any = gymnasium_envs.env.envs[0].unwrapped
    return {"model": single.fullpath, "substeps": single.frame_skip}


def compare_with_sync(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Compare HalfCheetah and CheetahRun, each with 16 and with `--num-envs` envs, with 16 envs in SyncVectorEnv."""
    rows = {}
    gymnasium_envs = make_gymnasium_envs("HalfCheetah-v5", _SYNC_NUM_ENVS, vectorization="sync")
    gymnasium_envs.reset(seed=0)
    sync = partial(_run_steps, gymnasium_envs, _actions(gymnasium_envs))
    for num_envs in dict.fromkeys((_SYNC_NUM_ENVS, args.num_envs)):
        half_cheetah = _half_cheetah(num_envs, args.threads, gymnasium_envs)
        cheetah = gym.make_vec("robossl/CheetahRun-v0", num_envs=num_envs, nthread=args.threads)
        for name, envs in {"HalfCheetah-v5": half_cheetah, "robossl/CheetahRun-v0": cheetah}.items():
            envs.reset(seed=0)
            run, count = partial(_run_steps, envs, _actions(envs)), _STEPS * num_envs
            row = _compare_rates(run, sync, args.rounds, count, "sync", other_count=_STEPS * _SYNC_NUM_ENVS)
            rows[f"{name}, {num_envs} envs"] = row
            envs.close()
    gymnasium_envs.close()
    return rows


def compare_with_envpool(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Compare HalfCheetah with EnvPool, which runs in a separate process."""
    if args.envpool is None:
        return {
            "HalfCheetah": {"missing": "not measured; use --envpool PYTHON with a Python that has EnvPool"}
        }
    script = str(Path(__file__).with_name("envpool_rate.py"))
    command = [args.envpool, script, str(args.num_envs), str(args.threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pool:
        assert pool.stdin is not None
        assert pool.stdout is not None
        reply = json.loads(pool.stdout.readline() or '{"missing": "EnvPool did not start"}')
        if "missing" in reply:
            return {"HalfCheetah": reply}
        gymnasium_envs = make_gymnasium_envs("HalfCheetah-v5", 1, vectorization="sync")
        envs = _half_cheetah(args.num_envs, args.threads, gymnasium_envs)
        gymnasium_envs.close()
        actions = _actions(envs)
        envs.reset(seed=0)

        def step_envpool() -> None:
            print(_STEPS, file=pool.stdin, flush=True)
            pool.stdout.readline()  # type: ignore[union-attr]

        count = _STEPS * args.num_envs
        row = _compare_rates(partial(_run_steps, envs, actions), step_envpool, args.rounds, count, "envpool")
        envs.close()
        pool.stdin.close()
    return {"HalfCheetah": row | reply}


def measure_memory(ids: list[str]) -> dict[str, Any]:
    """Return the memory of 1,024 sub-environments of the robot with the most joints, in a separate process."""
    joints = {i: gym.make_vec(i, num_envs=1).unwrapped.simulation.model.nq for i in ids}  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "benchmarks.vector_env_memory", max(ids, key=joints.__getitem__)]
    completed = subprocess.run([*command, str(_MEMORY_NUM_ENVS)], capture_output=True, text=True, check=True)
    return json.loads(completed.stdout)


def _run_steps(envs: gym.vector.VectorEnv, actions: np.ndarray) -> None:
    for action in actions:
        envs.step(action)


def compare_images() -> dict[str, dict[str, float]]:
    """Compare images per second of HalfCheetah, CheetahRun and Reacher with Gymnasium's HalfCheetah."""
    size = {"height": _SIZE[0], "width": _SIZE[1]}
    gymnasium_envs = make_gymnasium_envs("HalfCheetah-v5", 1, render_mode="rgb_array", **size)
    gymnasium_envs.reset(seed=0)
    half_cheetah = {"robossl/Mjcf-v0": _mjcf_settings(gymnasium_envs)}
    rows = {}
    for env_id, settings in (half_cheetah | {"robossl/CheetahRun-v0": {}, "robossl/Reacher-v0": {}}).items():
        envs = gym.make_vec(env_id, num_envs=16, pixels=_SIZE, **settings)
        envs.reset(seed=0)
        row = _compare_rates(
            partial(_observe, envs.unwrapped, 4),
            partial(_render, gymnasium_envs, 4),
            3,
            64,
            "gymnasium",
            other_count=4,
        )
        rows["HalfCheetah-v5" if env_id in half_cheetah else env_id] = row
        envs.close()
    gymnasium_envs.close()
    return rows


def _observe(envs: Any, times: int) -> None:
    for _ in range(times):
        envs.observation()


def _render(envs: Any, times: int) -> None:
    for _ in range(times):
        envs.render_frame(0)


def _actions(envs: gym.vector.VectorEnv) -> np.ndarray:
    """Return random actions (T, n, A)."""
    shape = (_STEPS, *(envs.action_space.shape or ()))
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _compare_rates(
    run: Callable[[], Any],
    run_other: Callable[[], Any],
    rounds: int,
    count: int,
    other: str,
    prepare: Callable[[], None] = lambda: None,
    other_count: int | None = None,
) -> dict[str, float]:
    """Run two programs in turn and return the medians of their rates and of the ratio within a round.

    Args:
        run: Our program.
        run_other: The program to compare with.
        rounds: Number of turns of each.
        count: Steps or images of a turn.
        other: Name of the other program in the result.
        prepare: Called before each round, outside the measured time.
        other_count: Steps or images of a turn of the other program; `count` if None.
    """
    rates: dict[str, list[float]] = {"robossl": [], other: []}
    prepare()
    run(), run_other()
    for _ in range(rounds):
        prepare()
        for name, program, units in (("robossl", run, count), (other, run_other, other_count or count)):
            start = time.perf_counter()
            program()
            rates[name].append(units / (time.perf_counter() - start))
    ratios = [a / b for a, b in zip(rates["robossl"], rates[other])]
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {"ratio": round(statistics.median(ratios), 3), **medians}


if __name__ == "__main__":
    run_main(main)
