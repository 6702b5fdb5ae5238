"""Learning beside a busy program, threads asleep or spinning: `python -m benchmarks.cpu_contention`.

Trains a world model on two threads in fresh interpreters: with the machine to itself, and beside one process that
never rests; with threads that sleep while they wait, as robossl sets it, and with threads that spin, as GNU OpenMP
does by default. Prints median updates a second and the ratio asleep / spinning, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

import robossl
from benchmarks.cli import answered

_WAITING = {"asleep": {"OMP_WAIT_POLICY": "PASSIVE"}, "spinning": {"GOMP_SPINCOUNT": "300000"}}
_TRAIN = """
import sys, time, torch
from robossl import Stream, WorldConfig, WorldModel
from robossl.world_model import WorldLearner
torch.set_num_threads(2)
stream = Stream.open(sys.argv[1])
learner = WorldLearner(WorldModel(WorldConfig(), stream.observation_space, stream.action_space), stream, device="cpu")
learner.update(5)
begin = time.perf_counter()
while time.perf_counter() - begin < float(sys.argv[2]):
    learner.update()
print((learner.updates - 5) / (time.perf_counter() - begin))
"""


def rate(stream: str, seconds: float, waiting: str) -> float:
    """Updates a second of one fresh interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return float(
        subprocess.run(
            [sys.executable, "-c", _TRAIN, stream, str(seconds)],
            env={**kept, **_WAITING[waiting]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="interpreters of each kind (3)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each (5)")
    options = parser.parse_args()
    rates: dict[str, dict[str, list[float]]] = {"alone": {}, "beside a busy program": {}}
    with tempfile.TemporaryDirectory() as folder:
        stream = f"{folder}/stream"
        robossl.collect("robossl/Reacher-v0", steps=20_000, out=stream)
        for place, found in rates.items():
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if place != "alone" else None
            for _ in range(options.repeats):
                for waiting in _WAITING:
                    found.setdefault(waiting, []).append(rate(stream, options.seconds, waiting))
            if busy is not None:
                busy.kill()
                busy.wait()
    report = {}
    for place, found in rates.items():
        medians = {waiting: statistics.median(values) for waiting, values in found.items()}
        report[place] = {
            "updates_per_second": {waiting: round(median, 2) for waiting, median in medians.items()},
            "asleep_over_spinning": round(medians["asleep"] / medians["spinning"], 2),
        }
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    print(json.dumps({"busy": report, "machine": machine, "repeats": options.repeats}, indent=2))


if __name__ == "__main__":
    answered(main)
