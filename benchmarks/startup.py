"""Start-up time of robossl, compared with its requirements: `python -m benchmarks.startup`.

Starts new interpreters in turn, so that a slow moment of the machine affects all commands alike. Prints medians
in seconds, and each one as a ratio to `import gymnasium` alone, as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cli import run_main

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import gymnasium": [sys.executable, "-c", "import gymnasium"],
    "import robossl": [sys.executable, "-c", "import robossl"],
    "robossl --help": [str(Path(sys.executable).with_name("robossl")), "--help"],
    "robossl learn --help": [str(Path(sys.executable).with_name("robossl")), "learn", "--help"],
}
LIMITS = {"import robossl": 0.3, "robossl --help": 0.5, "robossl learn --help": 0.5}  # [s]


def measure(command: list[str]) -> float:
    """Return the time from the start to the end of one process [s]."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure all commands and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="processes of each kind (15)")
    repeats = parser.parse_args().repeats
    for command in COMMANDS.values():  # the first process reads the disk and writes the bytecode
        measure(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            times[name].append(measure(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    report = {
        name: {
            "median_s": round(median, 4),
            "fastest_s": round(min(times[name]), 4),
            "ratio_to_gymnasium": round(median / medians["import gymnasium"], 3),
            "limit_s": LIMITS.get(name),
        }
        for name, median in medians.items()
    }
    machine = {"python": platform.python_version(), "system": platform.platform(), "repeats": repeats}
    print(json.dumps({"startup": report, "machine": machine}, indent=2))


if __name__ == "__main__":
    run_main(main)
