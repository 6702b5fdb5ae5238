"""Training speed of a world model: `python -m benchmarks.training_speed --json`.

Updates per second of `WorldModelTrainer` on a stream, compared with a bare loop of forward, backward and optimizer
step of the same network and losses on windows in memory. On CUDA also: the fraction of the time in which the GPU is
idle, and the same loop in eager float32 with 1,024 windows. Rows are measured in turns, so that a slow moment affects
all of them.
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
from benchmarks.cli import run_main
from robossl.core.seeding import generator
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.array_types import to_tensor
from robossl.world_model.cuda_graph import CudaGraphStep
from robossl.world_model.device import resolve
from robossl.world_model.encoded_batch import encode_windows

_TARGETS = {"to_bare_loop": 0.9, "to_eager_1024": 5.0}
_PREPARED = 8  # batches of windows in memory for the bare loop


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--steps", type=int, default=50_000, metavar="N", help="steps of the stream (50000)")
    parser.add_argument("--updates", type=int, default=20, metavar="N", help="updates of one turn (20)")
    parser.add_argument("--turns", type=int, default=9, metavar="N", help="turns of each row (9)")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads (0: torch's default)"
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = resolve(options.device)
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect(options.env, "colored_noise", options.steps, f"{folder}/stream", num_envs=64)
        report: dict[str, Any] = {"to_bare_loop": compare_with_bare_loop(stream, device, options)}
        if device.type == "cuda":
            report["to_eager_1024"] = compare_with_eager(stream, device, options)
            report["gpu_idle"] = gpu_idle_fraction(stream, device, options.updates)
    report |= {"targets": _TARGETS, "machine": machine(device), "env": options.env, "turns": options.turns}
    print(json.dumps(report, indent=2) if options.json else table(report))


def machine(device: torch.device) -> dict[str, Any]:
    """Return the software and hardware of this run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": name,
        "threads": torch.get_num_threads(),
    }


def table(report: dict[str, Any]) -> str:
    """Return one line for each ratio."""
    lines = [
        f"{name} (target: {target:g})  {report[name]['ratio']:.3f}  "
        + ", ".join(f"{row} {rate:,.1f} updates/s" for row, rate in report[name].items() if row != "ratio")
        for name, target in _TARGETS.items()
        if name in report
    ]
    if "gpu_idle" in report:
        lines.append(f"the GPU is idle {100 * report['gpu_idle']:.1f} % of the time")
    return "\n".join(lines)


def started_trainer(stream: Stream, device: torch.device, config: WorldModelConfig) -> WorldModelTrainer:
    """Return a trainer after three updates."""
    model = WorldModel(config, stream.observation_space, stream.action_space)
    trainer = WorldModelTrainer(model, stream, device=device)
    trainer.update(3)
    return trainer


def bare_loop(trainer: WorldModelTrainer) -> Callable[[int], None]:
    """Return a loop with the network, losses and optimizer of `trainer` on windows already on the device."""
    config, random, prepared = trainer.config, generator(0, "benchmark"), []
    for _ in range(_PREPARED):
        window = trainer.stream.windows(config.batch_size, config.unroll_steps, random, split="train")
        fields = ("observation", "action", "valid")
        prepared.append(
            SimpleNamespace(
                **{name: _to_device(getattr(window, name), trainer.model.device) for name in fields}
            )
        )

    def run(updates: int) -> None:
        for number in range(updates):
            batch = encode_windows(trainer.model, prepared[number % _PREPARED], trainer.random)  # type: ignore[arg-type]
            losses = {name: objective.loss(batch) for name, objective in trainer.objectives.items()}
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.loss_balancer.total(losses).backward()
            for parameters in trainer.clip_groups:
                torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            trainer.optimizer.step()

    return run


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _to_device(inner, device) for name, inner in value.items()}
    return to_tensor(value, device)


def compare_with_bare_loop(
    stream: Stream, device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    """Compare the trainer with the bare loop."""
    ours, bare = (started_trainer(stream, device, WorldModelConfig()) for _ in range(2))
    return compare({"trainer": ours.run, "bare": bare_loop(bare)}, device, options)


def compare_with_eager(stream: Stream, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Compare the trainer with the eager float32 loop at 1,024 windows."""
    config = dataclasses.replace(WorldModelConfig(), batch_size=1024)
    ours, eager = (started_trainer(stream, device, config) for _ in range(2))
    return compare({"trainer": ours.run, "eager": bare_loop(eager)}, device, options)


def gpu_idle_fraction(stream: Stream, device: torch.device, updates: int) -> float:
    """Return 1 - (duration of the replayed graph) / (duration of an update); pauses inside the graph count as work."""
    trainer = started_trainer(stream, device, dataclasses.replace(WorldModelConfig(), batch_size=1024))
    trainer.run(updates)
    torch.cuda.synchronize(device)
    start_time = time.perf_counter()
    trainer.run(updates)
    torch.cuda.synchronize(device)
    duration = time.perf_counter() - start_time
    step = trainer._train_step
    if not isinstance(step, CudaGraphStep) or step.replay is None:
        raise RuntimeError("the gradient step was not captured as a CUDA graph")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(updates):
        step.replay()
    end.record()
    torch.cuda.synchronize(device)
    return max(0.0, 1 - start.elapsed_time(end) / 1e3 / duration)


def compare(
    rows: dict[str, Callable[[int], Any]], device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    """Return median updates per second of both rows, and the median over turns of the ratio first / second."""
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(options.turns + 1):
        for name, run in rows.items():
            start_time = time.perf_counter()
            run(options.updates)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first turn is a warm-up
                rates[name].append(options.updates / (time.perf_counter() - start_time))
    first, second = rates.values()
    medians = {name: round(statistics.median(values), 2) for name, values in rates.items()}
    return {**medians, "ratio": round(statistics.median(a / b for a, b in zip(first, second)), 3)}


if __name__ == "__main__":
    run_main(main)
