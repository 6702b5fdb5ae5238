"""Execution of jobs by an engine: in this process, in processes of this machine, or as tasks of Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robossl.cells.processes import run_in_processes
from robossl.cells.schedule import JobT, Schedule
from robossl.cells.work import Resources, Run, Work, answer_of
from robossl.core.errors import OperationError


def run_jobs(
    jobs: Sequence[JobT],
    work: Work,
    resources: Resources,
    finished: Callable[[JobT, str | None, bool], None],
    run_here: Callable[[], Run] | None = None,
    retries: int = 0,
) -> None:
    """Run jobs, each after those that it needs.

    Args:
        jobs: All jobs that are left.
        work: What runs them.
        resources: Engine, number of workers, and the share of each.
        finished: Called after each job with the reason if it failed, and whether only something that it needs failed.
        run_here: With one local worker, or one job, returns what runs the jobs in this process; None: they run in a
            worker process even then.
        retries: How often a job runs again whose worker died.

    Raises:
        OperationError: A job stopped all work, as on a full disk.
    """
    schedule = Schedule(jobs)

    def note(job: JobT, error: str | None) -> None:
        finished(job, error, False)
        for lost, reason in schedule.done(job, error):
            finished(lost, reason, True)

    if not jobs:
        return
    if resources.engine == "ray":
        from robossl.cells.ray_tasks import run_on_ray

        run_on_ray(work, resources, note, schedule, retries)
    elif run_here is not None and (resources.local_workers == 1 or len(jobs) == 1):
        run = run_here()
        while (job := schedule.next()) is not None:
            answer = answer_of(run, job.to_json())
            if "stop" in answer:
                raise OperationError(answer["stop"])
            note(job, answer.get("error"))
    else:
        run_in_processes(work, resources, note, schedule, len(jobs), retries)
