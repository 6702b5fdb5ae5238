"""Training speed beside a busy process, with passive and spinning threads: `python -m benchmarks.cpu_contention`.

A world model is trained on two threads in new interpreters: alone on the machine, and beside one process that keeps
one core busy; with threads that sleep while they wait (the setting of robossl), and with threads that spin (the default
of GNU OpenMP). Prints median updates per second and the ratio passive / spinning as JSON.
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
from benchmarks.cli import run_main

_WAIT_POLICIES = {"passive": {"OMP_WAIT_POLICY": "PASSIVE"}, "spinning": {"GOMP_SPINCOUNT": "300000"}}
_TRAIN = """
import sys, time, torch
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
torch.set_num_threads(2)
stream = Stream.open(sys.argv[1])
model = WorldModel(WorldModelConfig(), stream.observation_space, stream.action_space)
trainer = WorldModelTrainer(model, stream, device="cpu")
trainer.update(5)
start = time.perf_counter()
while time.perf_counter() - start < float(sys.argv[2]):
    trainer.update()
print((trainer.updates - 5) / (time.perf_counter() - start))
"""


def updates_per_second(stream: str, seconds: float, policy: str) -> float:
    """Return the training speed of one new interpreter."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", _TRAIN, stream, str(seconds)]
    environment |= _WAIT_POLICIES[policy]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(completed.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="interpreters of each kind (3)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="duration of each (5)")
    options = parser.parse_args()
    rates: dict[str, dict[str, list[float]]] = {"alone": {}, "beside_busy_process": {}}
    with tempfile.TemporaryDirectory() as folder:
        stream = f"{folder}/stream"
        robossl.collect("robossl/Reacher-v0", steps=20_000, out=stream)
        for condition, by_policy in rates.items():
            command = [sys.executable, "-c", "while True: pass"]
            busy = subprocess.Popen(command) if condition != "alone" else None
            for _ in range(options.repeats):
                for policy in _WAIT_POLICIES:
                    rate = updates_per_second(stream, options.seconds, policy)
                    by_policy.setdefault(policy, []).append(rate)
            if busy is not None:
                busy.kill()
                busy.wait()
    results = {}
    for condition, by_policy in rates.items():
        medians = {policy: statistics.median(values) for policy, values in by_policy.items()}
        results[condition] = {
            "updates_per_second": {policy: round(median, 2) for policy, median in medians.items()},
            "passive_over_spinning": round(medians["passive"] / medians["spinning"], 2),
        }
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    print(json.dumps({"results": results, "machine": machine, "repeats": options.repeats}, indent=2))


if __name__ == "__main__":
    run_main(main)
