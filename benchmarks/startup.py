"""How long robossl takes to say hello, beside what it cannot do without: `python benchmarks/startup.py`.

Starts fresh interpreters in turn (so that a slow moment of the machine hits all of them alike), prints
medians in seconds, and each as a ratio to a bare `import gymnasium`, as JSON.
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

from benchmarks.cli import answered

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import gymnasium": [sys.executable, "-c", "import gymnasium"],
    "import robossl": [sys.executable, "-c", "import robossl"],
    "robossl --help": [str(Path(sys.executable).with_name("robossl")), "--help"],
}
LIMITS = {"import robossl": 0.3, "robossl --help": 0.5}  # [s] what we promise


def measure(command: list[str]) -> float:
    """Seconds from start to end of one process."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="processes of each kind (15)")
    repeats = parser.parse_args().repeats
    for command in COMMANDS.values():  # the first one reads the disk and writes the bytecode
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
    answered(main)
