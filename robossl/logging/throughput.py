"""Wall-clock metrics of a run: environment steps per second and memory in use."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence

from robossl.core.interfaces import MetricLogger, NullProgress, ProgressReporter

_INTERVAL = 5000  # environment steps between two records


class ThroughputProgress(NullProgress):
    """Progress reporter that wraps another one and logs environment steps per second and the memory in use.

    Records are written at fixed steps, so a resumed run writes them at the same steps as an uninterrupted one.
    """

    def __init__(
        self,
        progress: ProgressReporter,
        logger: MetricLogger,
        first_step: int = 0,
        counted: Sequence[int] = (0, 0),
    ) -> None:
        """Count steps after `first_step`, and go on from `counted` of an earlier reporter."""
        self._progress, self._logger, self._first_step = progress, logger, first_step
        self._steps, self._logged = counted
        self._time = time.perf_counter()

    def update(self, count: int, **metrics: float) -> None:
        """Count `count` more environment steps."""
        self._progress.update(count, **metrics)
        self._steps += count
        if self._steps - self._logged >= _INTERVAL:
            self.log()

    @property
    def counted(self) -> tuple[int, int]:
        """The environment steps so far, and those at the last record."""
        return self._steps, self._logged

    def log(self) -> None:
        """Log the throughput since the last record, if there are new steps."""
        if self._steps == self._logged:
            return
        now = time.perf_counter()
        rate = (self._steps - self._logged) / max(now - self._time, 1e-9)
        self._logger.scalars(
            self._first_step + self._steps, {"time/steps_per_second": rate, **memory_metrics()}
        )
        self._logged, self._time = self._steps, now

    def message(self, text: str) -> None:
        """Print a message with the wrapped reporter."""
        self._progress.message(text)


def memory_metrics() -> dict[str, float]:
    """Return the resident memory of this process [MiB] as a metric."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc on macOS: use the peak memory
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        used *= 1 if sys.platform == "darwin" else 1024
    return {"memory/rss_mib": used / 2**20}
