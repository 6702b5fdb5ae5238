"""Memory of long training on a growing stream: `python -m benchmarks.continual_memory --seconds 3600`.

Colored-noise actions are recorded, the stream grows, and the world model keeps training on all of it. With --learn it
is a whole run instead: `robossl learn --steps unlimited` in its own process, with agents and reports, stopped by
SIGTERM at the end; further flags are settings of the run. Prints a line every minute: time steps, updates, memory
of the process alone, and memory with mapped files. At the end it prints JSON: first and last line, all lines, and
the growth of memory over the second half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import robossl
from benchmarks.cli import run_main
from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.logging.sinks.jsonl import FILE_NAME
from robossl.rollout import collect_steps
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

_NUM_ENVS = 16
_STEPS, _UPDATES = 4_000, 20  # of one iteration
_MIN_LINES = 3  # for a slope
INTERRUPTED = 130  # exit code of a stopped run
Line = dict[str, float]


def main() -> None:
    """Train for a given time and print memory use."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, metavar="N", help="duration [s] (600)")
    parser.add_argument("--every", type=float, default=60, metavar="N", help="[s] between two lines (60)")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--memory", type=int, default=64, metavar="MIB", help="cache of the stream (64)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the stream here (default: remove it)")
    parser.add_argument("--learn", action="store_true", help="measure robossl learn --steps unlimited")
    options, settings = parser.parse_known_args()
    if settings and not options.learn:
        raise UsageError(f"expected a flag of --help, got {settings[0]}; settings of a run need --learn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        if options.learn:
            lines = learn(folder / "run", options.env, options.seconds, options.every, settings)
        else:
            lines = run(folder / "stream", options.env, options.seconds, options.every, options.memory << 20)
    print(json.dumps(report(options.env, lines), indent=2))


def run(folder: Path, env: str, seconds: float, every: float, memory: int) -> list[Line]:
    """Collect and train in turn; return one line after the first iteration and then one `every` seconds."""
    envs = robossl.make(env, _NUM_ENVS)
    recorder = Recorder.create(envs, folder, policy="colored_noise", seed=0, cache_bytes=memory)
    policy = registry.policy("colored_noise")(envs.single_action_space, _NUM_ENVS, seed=0)
    model = WorldModel(WorldModelConfig(), envs.single_observation_space, envs.single_action_space)
    trainer: WorldModelTrainer | None = None
    lines: list[Line] = []
    start, iteration = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        collect_steps(recorder, policy, _STEPS, iteration, NullProgress())
        trainer = trainer or WorldModelTrainer(model, recorder.stream)
        loss = trainer.update(_UPDATES)["loss"]
        iteration += 1
        if elapsed >= len(lines) * every:
            lines.append({"seconds": round(time.perf_counter() - start, 1), "steps": recorder.stream.rows,
                          "updates": trainer.updates, "loss": round(loss, 4), **memory_use()})  # fmt: skip
            print("  ".join(f"{name} {value:,}" for name, value in lines[-1].items()), flush=True)
    recorder.close()
    return lines


def learn(folder: Path, env: str, seconds: float, every: float, settings: Sequence[str]) -> list[Line]:
    """Run `robossl learn --steps unlimited`; return one line `every` seconds after its first iteration, for `seconds`.

    Raises:
        OperationError: The run did not end as an interrupted run does.
    """
    command = [sys.executable, "-m", "robossl.cli.main", "learn", env, "--steps", "unlimited", "--quiet"]
    lines: list[Line] = []
    with subprocess.Popen([*command, "--out", str(folder), *settings]) as process:
        start = None  # [s] end of the first iteration
        while process.poll() is None and (start is None or time.perf_counter() - start < seconds):
            time.sleep(1)
            newest = newest_record(folder, "evaluation/")
            if newest is None:
                continue
            start = start or time.perf_counter()
            elapsed = time.perf_counter() - start
            if elapsed >= len(lines) * every:
                lines.append({"seconds": round(elapsed, 1), **newest, **memory_use(process.pid)})
                print("  ".join(f"{name} {value:,}" for name, value in lines[-1].items()), flush=True)
        process.terminate()
    if process.returncode != INTERRUPTED:
        raise OperationError(f"expected exit code {INTERRUPTED} after SIGTERM, got {process.returncode}")
    return lines


def newest_record(folder: Path, begins: str) -> Line | None:
    """Return steps and updates so far from the metrics of a run; None before the first metric that begins so."""
    if not (folder / FILE_NAME).is_file():
        return None
    lines = (folder / FILE_NAME).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.endswith("}")]
    if not any(name.startswith(begins) for record in records for name in record):
        return None
    updates = [record["world_model/updates"] for record in records if "world_model/updates" in record]
    return {"steps": max(record["step"] for record in records), "updates": max(updates, default=0)}


def memory_use(process: int | str = "self") -> Line:
    """Return the memory [MiB] of a process alone and with mapped files (Linux)."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":" in line
    )
    return {
        name: round(int(status[key].split()[0]) / 1024, 1)
        for name, key in (("own_mib", "RssAnon"), ("resident_mib", "VmRSS"))
    }


def report(env: str, lines: list[Line]) -> dict[str, Any]:
    """Return the first and last line, all lines, and the growth of memory over the second half."""
    keys = ("seconds", "steps", "updates", "own_mib", "resident_mib")
    first, last = ({name: line[name] for name in keys} for line in (lines[0], lines[-1]))
    return {"env": env, "first": first, "last": last, "lines": lines, "second_half": growth(lines)}


def growth(lines: list[Line]) -> dict[str, Any]:
    """Return least-squares slopes over the second half: [MiB per hour] and [MiB per million time steps]."""
    late = lines[len(lines) // 2 :]
    if len(late) < _MIN_LINES:
        return {"reason": f"{len(late)} lines in the second half; expected {_MIN_LINES}: use more --seconds"}

    def slope(x: str, y: str, unit: float) -> float:
        values = np.array([line[x] for line in late]) / unit
        return round(float(np.polyfit(values, [line[y] for line in late], 1)[0]), 2)

    return {
        "lines": len(late),
        "own_mib_per_hour": slope("seconds", "own_mib", 3600),
        "resident_mib_per_hour": slope("seconds", "resident_mib", 3600),
        "own_mib_per_million_steps": slope("steps", "own_mib", 1e6),
    }


if __name__ == "__main__":
    run_main(main)
