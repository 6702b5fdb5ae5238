"""Several world models at once against one after the other: `python -m benchmarks.several_models --json`.

Gradient steps per second of world models of different seeds on one stream, all models together: one after the other
with all CPU threads, as `robossl pretrain` trains each; in threads of one CPU thread each, as `pretrain --seeds` does
on a CPU; and stacked, as it does on a GPU. Rows are measured in turns, so that a slow moment affects all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import robossl
from benchmarks.cli import run_main
from benchmarks.training_speed import machine
from robossl.streams import Stream
from robossl.training.config import thread_count
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.device import resolve
from robossl.world_model.parallel_trainers import ThreadedTrainers
from robossl.world_model.stacked_trainer import StackedTrainer

_TARGET = {"cpu": 2.0, "cuda": 3.0}  # ratio to one after the other, with 4 seeds
_BASELINE = "one_after_the_other"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--steps", type=int, default=20_000, metavar="N", help="steps of the stream (20000)")
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="models (4)")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256], metavar="N")
    parser.add_argument(
        "--updates", type=int, default=20, metavar="N", help="updates of a model in one turn (20)"
    )
    parser.add_argument("--turns", type=int, default=7, metavar="N", help="turns of each row (7)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (0: all cores)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device, threads = resolve(options.device), thread_count(options.threads)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect(options.env, "colored_noise", options.steps, f"{folder}/stream", num_envs=64)
        report: dict[str, Any] = {
            f"width_{width}": compare(stream, width, device, threads, options) for width in options.widths
        }
    report |= {"seeds": options.seeds, "target": _TARGET.get(device.type), "machine": machine(device)}
    print(json.dumps(report, indent=2) if options.json else table(report))


def compare(
    stream: Stream, width: int, device: torch.device, threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return median updates per second of each row, by wall time and by CPU time, and the median ratios."""
    config = dataclasses.replace(
        WorldModelConfig(), encoder_hidden=(width, width), dynamics_hidden=(width, width),
        inverse_hidden=(width, width), decoder_hidden=(width,),
    )  # fmt: skip

    def trainers() -> list[WorldModelTrainer]:
        models = [
            WorldModel(config, stream.observation_space, stream.action_space, seed)
            for seed in range(options.seeds)
        ]
        return [WorldModelTrainer(model, stream, seed, device=device) for seed, model in enumerate(models)]

    alone, in_threads, stacked = trainers(), ThreadedTrainers(trainers(), threads), StackedTrainer(trainers())

    def one_after_the_other(updates: int) -> None:
        for trainer in alone:
            trainer.update(updates)

    rows: dict[str, Callable[[int], Any]] = {
        _BASELINE: one_after_the_other,
        "threads": lambda updates: in_threads.run_to(in_threads.trainers[0].updates + updates),
        "stacked": stacked.update,
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for turn in range(options.turns + 1):
        for name, run in rows.items():
            start = time.perf_counter(), time.process_time()
            run(options.updates)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first turn is a warm-up
                seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    count = options.seeds * options.updates
    result: dict[str, Any] = {}
    for name, measured in seconds.items():
        result[name] = {
            "updates_per_second": round(statistics.median(count / wall for wall, _ in measured), 2)
        }
        for index, clock in enumerate(("wall", "cpu")):
            ratios = [base[index] / own[index] for base, own in zip(seconds[_BASELINE], measured)]
            low, *_, high = sorted(ratios)
            result[name][f"{clock}_ratio"] = round(statistics.median(ratios), 3)
            result[name][f"{clock}_ratio_range"] = [round(low, 3), round(high, 3)]
    return result


def table(report: dict[str, Any]) -> str:
    """Return one line for each width and row."""
    return "\n".join(
        f"{width:10} {name:20} {row['updates_per_second']:8.1f} updates/s  ratio {row['wall_ratio']:.2f} "
        f"(CPU time {row['cpu_ratio']:.2f})"
        for width, rows in report.items()
        if width.startswith("width_")
        for name, row in rows.items()
    )


if __name__ == "__main__":
    run_main(main)
