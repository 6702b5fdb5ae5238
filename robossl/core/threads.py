"""OpenMP wait policy: threads sleep at barriers, so that a busy machine does not stall them."""

from __future__ import annotations

import os
import sys


def set_openmp_passive_wait() -> None:
    """Make OpenMP threads sleep at their barriers, unless the user set a policy or torch is already imported.

    Spinning, the default of GNU OpenMP, is slightly faster on an idle machine. If another program occupies one core,
    a spinning thread blocks the core that the thread it waits for needs. See `python -m benchmarks.cpu_contention`.
    """
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
