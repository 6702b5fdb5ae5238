"""Actors of Ray: in place of one that is killed a new one is started, which gets the unfinished job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robossl.cells.ray_cluster import error_text, prepare_worker, ray_cluster, worker_options
from robossl.cells.work import (
    Deaths,
    Died,
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


def run_ray_actors(
    works: Sequence[Work], resources: Resources, next_job: NextJob, died: Died | None = None
) -> None:
    """Run an actor of Ray for each work; arguments as those of `run_actors`."""
    with ray_cluster(resources) as ray:
        remote = ray.remote(Actor).options(**worker_options(resources))
        environment = worker_environment(resources.threads)
        deaths = Deaths(died)
        actors: dict[int, Any] = {}
        jobs: dict[int, dict[str, Any]] = {}
        running: dict[Any, int] = {}

        def start(index: int) -> None:
            actors[index] = remote.remote(works[index].target, works[index].settings, environment)
            give(index)

        def give(index: int) -> None:
            running[actors[index].run.remote(jobs[index])] = index

        for index in range(len(works)):
            if (job := next_job(index, None)) is not None:
                jobs[index] = job
                start(index)
        while running:
            done, _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done[0])
            try:
                answer = ray.get(done[0])
            except ray.exceptions.RayActorError as error:
                ray.kill(actors[index])  # in case that it only cannot be reached: no two actors have one work
                deaths.add(index, error_text(error))
                start(index)
                continue
            except ray.exceptions.RayError as error:
                raise OperationError(f"a worker of Ray failed: {error_text(error)}") from error
            deaths.reset(index)
            check_answer(answer)
            following = next_job(index, answer)
            if following is None:
                ray.kill(actors.pop(index))
            else:
                jobs[index] = following
                give(index)
