"""Speed of several collectors, and recovery of one that is killed: `python -m benchmarks.collectors --json`.

* Steps per second of 1, 2, 4, ... workers, and the ratio to as many times one worker, timed over two lengths, so
  that the start of the processes does not count.
* Seconds from `kill -9` of a collector to the report of its death in this process, and from the report to the first
  block of the process that replaces it. The latter contains the start of the process, its imports, and the block
  itself, whose seconds without a death are given too. CPU time is that of the new process up to there, which other
  programs on the machine hardly change.

`--engine ray` uses Ray on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.cli import run_main
from robossl.cells.actors import run_actors
from robossl.cells.work import Resources, Work
from robossl.core.interfaces import NullProgress
from robossl.core.system_info import cores, system_info
from robossl.training.requests import CollectRequest
from robossl.training.shard_collection import COLLECTOR, collect_shards

_NUM_ENVS = 16  # sub-environments of each worker
_BLOCK_STEPS = 1000  # of each lane, in the measurement of the recovery


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--env", default="robossl/CheetahRun-v0", metavar="ENV", help="env (CheetahRun)")
    parser.add_argument(
        "--steps", type=int, default=200_000, metavar="N", help="steps of each worker (200,000)"
    )
    parser.add_argument("--engine", default="local", metavar="NAME", help="local or ray (local)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="kills (5)")
    options = parser.parse_args()
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= cores()]
    speeds = {count: speed(options.env, count, options.steps, options.engine) for count in counts}
    recoveries = [recovery(options.env, options.engine) for _ in range(options.rounds)]
    result = {
        "env": options.env,
        "engine": options.engine,
        "steps_per_second": {str(count): round(value) for count, value in speeds.items()},
        "ratio": {str(count): round(value / (count * speeds[1]), 3) for count, value in speeds.items()},
        **{
            f"{name}_seconds": [round(each[name], 2) for each in recoveries]
            for name in ("report", "recovery", "recovery_cpu", "block")
        },
        "load_average": os.getloadavg()[0],
        **system_info(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


def speed(env: str, workers: int, steps: int, engine: str) -> float:
    """Return the steps per second of all workers together."""
    seconds = []
    for length in (steps, 3 * steps):
        with tempfile.TemporaryDirectory() as folder:
            request = CollectRequest(
                env, "random", length * workers, Path(folder) / "stream", num_envs=_NUM_ENVS * workers, threads=1,
                workers=workers, engine=engine,
            )  # fmt: skip
            start = time.perf_counter()
            collect_shards(request, NullProgress()).close()
            seconds.append(time.perf_counter() - start)
    return 2 * steps * workers / (seconds[1] - seconds[0])


def recovery(env: str, engine: str) -> dict[str, float]:
    """Return the seconds from a kill to the report of the death, from there to the next block, and of a block."""
    killed: list[float] = []
    reported: list[float] = []
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "folder": folder, "shard": 0, "env": env, "policy": "random", "seed": 0, "num_envs": _NUM_ENVS,
            "threads": 1, "pixels": 0, "block_steps": _BLOCK_STEPS, "trusted": [],
        }  # fmt: skip
        last = [time.perf_counter()]

        def kill(process: int) -> None:
            killed.append(time.perf_counter())
            os.kill(process, signal.SIGKILL)

        def next_job(index: int, answer: dict[str, Any] | None) -> dict[str, Any] | None:
            now = time.perf_counter()
            if answer is not None and answer["blocks"] == 2:
                found["block"] = now - last[0]
                threading.Timer(0.01, kill, [answer["process"]]).start()
            if answer is not None and answer["blocks"] == 3:
                found["report"] = reported[0] - killed[0]
                found["recovery"] = now - reported[0]
                found["recovery_cpu"] = cpu_seconds(answer["process"])
                return None
            last[0] = now
            return {"blocks": 3}

        run_actors(
            [Work(COLLECTOR, settings)], Resources(engine, 1, 1), next_job,
            lambda index, how: reported.append(time.perf_counter()),
        )  # fmt: skip
    return found


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process of this machine so far; nan where there is no /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    run_main(main)
