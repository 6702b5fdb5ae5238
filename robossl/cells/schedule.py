"""Jobs that need each other, and the order in which they can run."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar


class Job(Protocol):
    """One piece of work that can run again after any end.

    Attributes:
        name: Unique name.
        needs: Names of the jobs that must be done before.
        cost: Rough cost [s]; the longest jobs run first.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def cost(self) -> float: ...
    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON values, for a worker process."""


JobT = TypeVar("JobT", bound=Job)


class Schedule(Generic[JobT]):
    """The jobs that are left, in an order that their needs allow; the longest first."""

    def __init__(self, jobs: Sequence[JobT]) -> None:
        """Begin with all jobs; needs that are no jobs are done already."""
        self._jobs = {job.name: job for job in jobs}
        self._open = {job.name: {name for name in job.needs if name in self._jobs} for job in jobs}
        self._order = {job.name: index for index, job in enumerate(jobs)}
        self._ready: list[tuple[float, int, str]] = []
        self._running: set[str] = set()
        for name in [name for name, needs in self._open.items() if not needs]:
            self._push(name)

    def _push(self, name: str) -> None:
        del self._open[name]
        heapq.heappush(self._ready, (-self._jobs[name].cost, self._order[name], name))

    def next(self) -> JobT | None:
        """Return a job that can start, None if there is none now."""
        if not self._ready:
            return None
        job = self._jobs[heapq.heappop(self._ready)[2]]
        self._running.add(job.name)
        return job

    def again(self, job: JobT) -> None:
        """Let a running job wait for another start."""
        self._running.discard(job.name)
        heapq.heappush(self._ready, (-job.cost, self._order[job.name], job.name))

    @property
    def finished(self) -> bool:
        """Whether no job is left or running."""
        return not self._ready and not self._running

    def done(self, job: JobT, error: str | None) -> list[tuple[JobT, str]]:
        """Note that a job is done; return the jobs that cannot be done because it failed, with the reason."""
        self._running.discard(job.name)
        if error is not None:
            return self._lose(job.name, f"{job.name} failed: {error}")
        for name in [name for name, needs in self._open.items() if job.name in needs]:
            self._open[name].discard(job.name)
            if not self._open[name]:
                self._push(name)
        return []

    def _lose(self, name: str, reason: str) -> list[tuple[JobT, str]]:
        """Remove all jobs that need a failed one."""
        lost = []
        for waiting in [other for other, needs in self._open.items() if name in needs]:
            if self._open.pop(waiting, None) is not None:
                lost += [(self._jobs[waiting], reason), *self._lose(waiting, reason)]
        return lost
