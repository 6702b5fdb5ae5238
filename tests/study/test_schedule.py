"""Jobs run once, after all that they need; a failed job takes along what needs it, and nothing else."""

from __future__ import annotations

import pytest

from robossl.cells.schedule import Schedule
from robossl.core.seeding import generator
from robossl.study.jobs import Job
from robossl.study.study_folder import Cell


def random_jobs(seed: int, count: int = 30) -> list[Job]:
    random = generator(seed, "jobs")
    return [
        Job(
            f"job-{index}", "cells", cost=float(random.integers(5)),
            needs=tuple(f"job-{other}" for other in range(index) if random.random() < 0.1),
        )
        for index in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_ends_once_and_after_its_needs(seed: int, workers: int) -> None:
    random, jobs = generator(seed, "order"), random_jobs(seed)
    failing = {job.name for job in jobs if random.random() < 0.2}
    schedule, running, ended = Schedule(jobs), [], {}
    while not schedule.finished:
        while len(running) < workers and (job := schedule.next()) is not None:
            assert all(ended[name] is None for name in job.needs)
            running.append(job)
        job = running.pop(int(random.integers(len(running))))
        assert job.name not in ended
        ended[job.name] = "broken" if job.name in failing else None
        for lost, reason in schedule.done(job, ended[job.name]):
            assert lost.name not in ended
            ended[lost.name] = reason
    assert set(ended) == {job.name for job in jobs}
    for job in jobs:
        assert (ended[job.name] is None) == (
            job.name not in failing and all(ended[n] is None for n in job.needs)
        )


def test_needs_that_are_no_jobs_are_there_already() -> None:
    schedule = Schedule([Job("cell", "cells", needs=("stream-0",))])
    assert schedule.next() is not None


def test_longest_job_that_can_start_is_first() -> None:
    schedule = Schedule(
        [Job("a", "cells", cost=1.0), Job("b", "cells", cost=2.0), Job("c", "cells", ("a",), cost=3.0)]
    )
    assert [schedule.next().name, schedule.next().name] == ["b", "a"]  # type: ignore[union-attr]
    assert schedule.next() is None


def test_job_is_read_back_from_json() -> None:
    job = Job("x", "cells", ("a", "b"), 1, cells=(Cell("latent", "a/A-v0", 0, 1),))
    assert Job.from_json(job.to_json()) == job
