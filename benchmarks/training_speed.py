"""How fast a world model learns: `python -m benchmarks.training_speed --json`.

Updates a second of `WorldLearner` on a stream, beside the bare forward-backward-step loop of the same network and
losses over windows that lie ready in memory. On CUDA besides: what part of the time the GPU waits, and the same loop
in eager fp32 with 1,024 windows. Rows are measured in turns, so that a slow moment of the machine hits them alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

import robossl
from benchmarks.cli import answered
from robossl.core.seeding import generator
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.array_types import tensor
from robossl.world_model.cuda_graph import CudaGraphStep
from robossl.world_model.device import resolve
from robossl.world_model.encoded_batch import encode_windows

_LIMITS = {"to_bare_loop": 0.9, "to_eager_1024": 5.0}  # what we promise
_READY = 8  # windows that lie ready for the bare loop


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--rows", type=int, default=50_000, metavar="N", help="steps of the stream (50000)")
    parser.add_argument("--updates", type=int, default=20, metavar="N", help="updates of one turn (20)")
    parser.add_argument("--turns", type=int, default=9, metavar="N", help="turns of each row (9)")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads (0: as torch has them)"
    )
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = resolve(given.device)
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect(given.env, "colored_noise", given.rows, f"{folder}/stream", num_envs=64)
        report: dict[str, Any] = {"to_bare_loop": beside_bare(stream, device, given)}
        if device.type == "cuda":
            report["to_eager_1024"] = beside_eager(stream, device, given)
            report["gpu_waits"] = waiting(stream, device, given.updates)
    report |= {"limits": _LIMITS, "machine": machine(device), "env": given.env, "turns": given.turns}
    print(json.dumps(report, indent=2) if given.json else table(report))


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": name,
        "threads": torch.get_num_threads(),
    }


def table(report: dict[str, Any]) -> str:
    """One line a ratio."""
    lines = [
        f"{name} (promised: {limit:g})  {report[name]['ratio']:.3f}  "
        + ", ".join(f"{row} {rate:,.1f} updates/s" for row, rate in report[name].items() if row != "ratio")
        for name, limit in _LIMITS.items()
        if name in report
    ]
    if "gpu_waits" in report:
        lines.append(f"the GPU waits {100 * report['gpu_waits']:.1f} % of the time")
    return "\n".join(lines)


def learner(stream: Stream, device: torch.device, config: WorldModelConfig) -> WorldModelTrainer:
    """One that has begun."""
    model = WorldModel(config, stream.observation_space, stream.action_space)
    found = WorldModelTrainer(model, stream, device=device)
    found.update(3)
    return found


def bare(taught: WorldModelTrainer) -> Callable[[int], None]:
    """The same network, losses and optimiser, over windows that are on the device already."""
    config, random, ready = taught.config, generator(0, "benchmark"), []
    for _ in range(_READY):
        drawn = taught.stream.windows(config.batch, config.rollout, random, split="train")
        fields = ("observation", "action", "valid")
        ready.append(
            SimpleNamespace(
                **{name: _moved(getattr(drawn, name), taught.ema_model.device) for name in fields}
            )
        )

    def run(updates: int) -> None:
        for number in range(updates):
            batch = encode_windows(taught.model, ready[number % _READY], taught.random)
            losses = {name: chosen.loss(batch) for name, chosen in taught.objectives.items()}
            taught.optimizer.zero_grad(set_to_none=True)
            taught.loss_balancer.total(losses).backward()
            for parameters in taught.clipped:
                torch.nn.utils.clip_grad_norm_(parameters, config.clip)
            taught.optimizer.step()

    return run


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _moved(inner, device) for name, inner in value.items()}
    return tensor(value, device)


def beside_bare(stream: Stream, device: torch.device, given: argparse.Namespace) -> dict[str, float]:
    """The learner, as `robossl pretrain` calls it, beside the bare loop."""
    ours, theirs = (learner(stream, device, WorldModelConfig()) for _ in range(2))
    return race({"learner": ours.run, "bare": bare(theirs)}, device, given)


def beside_eager(stream: Stream, device: torch.device, given: argparse.Namespace) -> dict[str, float]:
    """The learner at 1,024 windows beside the eager loop in 32 bits."""
    config = dataclasses.replace(WorldModelConfig(), batch=1024)
    ours, theirs = (learner(stream, device, config) for _ in range(2))
    return race({"learner": ours.run, "eager": bare(theirs)}, device, given)


def waiting(stream: Stream, device: torch.device, updates: int) -> float:
    """The share of the time in which the GPU has no step to do: 1 less a step's own time over an update's.

    A step's own time is that of its recording played over and over; the pauses within a recording count as work.
    """
    ours = learner(stream, device, dataclasses.replace(WorldModelConfig(), batch=1024))
    ours.run(updates)
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    ours.run(updates)
    torch.cuda.synchronize(device)
    passed = time.perf_counter() - began
    if not isinstance(ours._train_step, CudaGraphStep) or ours._train_step.replay is None:
        raise RuntimeError("the step was not recorded")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(updates):
        ours._train_step.replay()
    end.record()
    torch.cuda.synchronize(device)
    return max(0.0, 1 - start.elapsed_time(end) / 1e3 / passed)


def race(
    rows: dict[str, Callable[[int], Any]], device: torch.device, given: argparse.Namespace
) -> dict[str, float]:
    """Median updates a second of each row, and the median ratio of the first to the second within a turn."""
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(given.turns + 1):
        for name, run in rows.items():
            began = time.perf_counter()
            run(given.updates)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first one warms up
                rates[name].append(given.updates / (time.perf_counter() - began))
    ours, theirs = rates.values()
    found = {name: round(statistics.median(values), 2) for name, values in rates.items()}
    return {**found, "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs)), 3)}


if __name__ == "__main__":
    answered(main)
