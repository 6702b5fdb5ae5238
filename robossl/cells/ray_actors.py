"""Actors of Ray: one that is killed is started again by Ray, which gives it its unfinished job once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robossl.cells.ray_cluster import error_text, prepare_worker, ray_cluster, worker_options
from robossl.cells.work import (
    MAX_DEATHS,
    NextJob,
    Resources,
    Work,
    answer_of_worker,
    check_answer,
    worker_environment,
)
from robossl.core.errors import OperationError


class Actor:
    """Runs the jobs of one work in a worker of Ray, one at a time."""

    def __init__(self, target: str, settings: dict[str, Any], environment: dict[str, str]) -> None:
        """Prepare to run jobs."""
        prepare_worker(environment)
        self._run = Work(target, settings).make()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job and return its answer."""
        return answer_of_worker(self._run, job)


def run_ray_actors(works: Sequence[Work], resources: Resources, next_job: NextJob) -> None:
    """Run an actor of Ray for each work; arguments as those of `run_actors`."""
    with ray_cluster(resources) as ray:
        options = worker_options(resources)
        actors: dict[int, Any] = {}
        running: dict[Any, int] = {}
        for index, work in enumerate(works):
            if (job := next_job(index, None)) is not None:
                actors[index] = (
                    ray.remote(Actor)
                    .options(max_restarts=-1, max_task_retries=MAX_DEATHS, **options)
                    .remote(work.target, work.settings, worker_environment(resources.threads))
                )
                running[actors[index].run.remote(job)] = index
        while running:
            done, _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done[0])
            try:
                answer = ray.get(done[0])
            except ray.exceptions.RayError as error:
                raise OperationError(f"a worker of Ray failed: {error_text(error)}") from error
            check_answer(answer)
            following = next_job(index, answer)
            if following is None:
                ray.kill(actors.pop(index))
            else:
                running[actors[index].run.remote(following)] = index
