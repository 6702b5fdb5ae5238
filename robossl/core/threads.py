"""How the threads of a network wait for each other: asleep, so that a busy machine does not bring them to a halt."""

from __future__ import annotations

import os
import sys


def set_openmp_passive_wait() -> None:
    """Let OpenMP's threads sleep at their barriers, unless the user chose otherwise or torch is here already.

    Spinning, the default of GNU OpenMP, is a little faster on an idle machine; but where another program holds one
    core, a thread that spins keeps the other core from the thread it waits for. See `python -m benchmarks.cpu_contention`.
    """
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
