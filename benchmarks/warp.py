"""Speed and memory of the robots on MuJoCo Warp: `python -m benchmarks.warp --json`.

For one task of each robot and each number of sub-environments: control steps per second of the env, of bare physics
stepping (on a GPU, one CUDA graph of the same physics steps) in turn with it, their ratio, and the memory of the env.
On the CPU the numbers only show that it runs: there MuJoCo's own batch is the faster one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import robossl.envs
import torch

from benchmarks.cli import run_main
from robossl.core.errors import unknown_name_error
from robossl.core.limits import resident_memory

TASKS = (
    "CartPoleSwingUp", "Reacher", "PointMaze", "PushT", "CheetahRun", "HopperHop", "WalkerWalk", "QuadrupedWalk",
    "HumanoidWalk", "ArmPush", "HandTurn",
)  # fmt: skip
GOALS = {  # control steps per second at 8,192 sub-environments on an H100 or H200
    "CartPoleSwingUp": 5e6, "Reacher": 5e6, "PointMaze": 5e6, "CheetahRun": 1e6, "HopperHop": 1e6, "WalkerWalk": 1e6,
    "QuadrupedWalk": 1e6, "HumanoidWalk": 0.5e6, "ArmPush": 0.3e6, "HandTurn": 0.3e6,
}  # fmt: skip
RATIO_GOAL, MEMORY_GOAL = 0.8, 2e9  # of the bare graph; [bytes] at 4,096 sub-environments
_GOAL_ENVS, _MEMORY_ENVS = 8192, 4096
_WARM_UP = 4  # steps: compilation and the capture of the graph


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--task", nargs="+", default=TASKS, metavar="NAME", help="tasks (one of each robot)")
    parser.add_argument(
        "--num-envs", nargs="+", type=int, metavar="N", help="sub-environments (GPU: 512 2048 8192, CPU: 16)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="control steps of a round (GPU: 100, CPU: 5)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="rounds, of which the fastest counts (3)"
    )
    args = parser.parse_args()
    known = [i.removeprefix("robossl/").removesuffix("-v0") for i in robossl.envs.register()]
    for name in args.task:
        if name not in known:
            parser.error(str(unknown_name_error("task", name, known)))
    device = gym.make_vec(
        "robossl/CartPoleSwingUp-v0", num_envs=1, backend="warp", device=args.device
    ).unwrapped.device
    on_gpu = device.type == "cuda"
    sizes = args.num_envs or ([512, 2048, 8192] if on_gpu else [16])
    steps = args.steps or (100 if on_gpu else 5)
    rows = [measure(name, count, device, steps, args.rounds) for name in args.task for count in sizes]
    report = {
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "steps": steps,
        "rounds": args.rounds,
        "rows": rows,
        "below_goal": below_goal(rows) if on_gpu else [],
        "goals": "of a GPU; not measured here" if not on_gpu else GOALS,
    }
    print(json.dumps(report, indent=2) if args.json else table(report))


def measure(name: str, num_envs: int, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """Return speed and memory of a task."""
    before = _memory(device)
    envs: Any = gym.make_vec(f"robossl/{name}-v0", num_envs=num_envs, backend="warp", device=device).unwrapped
    generator = torch.Generator(device).manual_seed(0)
    shape = (num_envs, envs.action_space.shape[1])
    actions = [2 * torch.rand(shape, generator=generator, device=device) - 1 for _ in range(steps)]
    envs.reset(seed=0)
    for action in actions[:_WARM_UP]:
        envs.step(action)
    taken = _memory(device) - before
    bare_step = _bare(envs)
    env_seconds, bare_seconds = [], []
    for _ in range(rounds):
        env_seconds.append(_seconds(lambda: [envs.step(action) for action in actions], device))
        bare_seconds.append(_seconds(lambda: [bare_step() for _ in range(steps)], device))
    count = num_envs * steps
    row = {
        "task": name,
        "num_envs": num_envs,
        "steps_per_second": count / min(env_seconds),
        "bare_steps_per_second": count / min(bare_seconds),
        "ratio": min(bare_seconds) / min(env_seconds),
        "bytes": taken,
        "physics_errors": int(envs.simulation.error_counts.sum()),
        "max_contacts": envs.simulation.capacity.contacts,
        "max_constraints": envs.simulation.capacity.constraints,
    }
    envs.close()
    return row


def _bare(envs: Any) -> Callable[[], None]:
    """Return a function that takes the physics steps of one control step, without the env."""
    simulation = envs.simulation
    if envs.device.type == "cpu":
        return lambda: simulation.batch.step(simulation.substeps)
    from robossl.envs.warp.warp_step import capture

    def work() -> dict[str, torch.Tensor]:
        simulation.batch.step(simulation.substeps)
        return {}

    graph, _ = capture(work, envs.device)
    return graph.replay


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Return the duration [s] of work on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _memory(device: torch.device) -> int:
    """Return the memory [bytes] in use: of the GPU, or of this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return resident_memory() or 0


def below_goal(rows: list[dict[str, Any]]) -> list[str]:
    """Return which rows miss a goal."""
    found = []
    for row in rows:
        name, goal = f"{row['task']}, {row['num_envs']:,} sub-environments", GOALS.get(row["task"])
        if row["num_envs"] == _GOAL_ENVS and goal and row["steps_per_second"] < goal:
            found.append(f"{name}: {row['steps_per_second']:,.0f} of {goal:,.0f} steps/s")
        if row["num_envs"] == _GOAL_ENVS and row["ratio"] < RATIO_GOAL:
            found.append(f"{name}: ratio {row['ratio']:.2f} of {RATIO_GOAL}")
        if row["num_envs"] <= _MEMORY_ENVS and row["bytes"] > MEMORY_GOAL:
            found.append(f"{name}: {row['bytes'] / 1e9:.1f} GB")
    return found


def table(report: dict[str, Any]) -> str:
    """Return the report as text, one line per row."""
    lines = [f"{report['device']}: task, sub-environments, steps/s, bare steps/s, ratio, memory"]
    for row in report["rows"]:
        lines.append(
            f"  {row['task']:18} {row['num_envs']:6,} {row['steps_per_second']:12,.0f} "
            f"{row['bare_steps_per_second']:12,.0f} {row['ratio']:6.2f} {row['bytes'] / 1e6:8,.0f} MB"
        )
    return "\n".join([*lines, f"below goal: {', '.join(report['below_goal']) or 'none'}"])


if __name__ == "__main__":
    run_main(main)
