"""Jobs as tasks of Ray; a task whose worker or node dies runs again elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from robossl.cells.ray_cluster import error_text, prepare_worker, ray_cluster, worker_options
from robossl.cells.schedule import JobT, Schedule
from robossl.cells.work import Resources, Run, Work, answer_of_worker, worker_environment
from robossl.core.errors import OperationError

_runners: dict[str, Run] = {}  # of this worker process, by target and settings


def run_task(
    target: str, settings: dict[str, Any], environment: dict[str, str], job: dict[str, Any]
) -> dict[str, Any]:
    """Run one job in a worker of Ray, and return its answer."""
    key = json.dumps([target, settings], sort_keys=True)
    if key not in _runners:
        prepare_worker(environment)
        _runners.clear()
        _runners[key] = Work(target, settings).make()
    return answer_of_worker(_runners[key], job)


def run_on_ray(
    work: Work,
    resources: Resources,
    finished: Callable[[JobT, str | None], None],
    schedule: Schedule[JobT],
    retries: int,
) -> None:
    """Run the jobs of a schedule as tasks of Ray.

    Args:
        work: What runs them.
        resources: The share of each; `workers` limits how many run at once, 0: as many as fit.
        finished: Called after each job with the reason if it failed.
        schedule: The jobs that are left.
        retries: How often a job runs again whose worker died; then it has failed.
    """
    with ray_cluster(resources) as ray:
        task = ray.remote(run_task).options(max_retries=max(retries, 0), **worker_options(resources))
        environment = worker_environment(resources.threads)
        running: dict[Any, JobT] = {}
        try:
            while not schedule.finished:
                while not resources.workers or len(running) < resources.workers:
                    if (job := schedule.next()) is None:
                        break
                    reference = task.remote(work.target, work.settings, environment, job.to_json())
                    running[reference] = job
                done, _ = ray.wait(list(running), num_returns=1)
                job = running.pop(done[0])
                try:
                    answer = ray.get(done[0])
                except ray.exceptions.RayError as error:
                    answer = {"error": error_text(error)}
                if "stop" in answer:
                    raise OperationError(answer["stop"])
                finished(job, answer.get("error"))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
