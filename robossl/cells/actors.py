"""Actors: workers with a state of their own, each given one job after the other; one that dies is started again."""

from __future__ import annotations

import selectors
from collections.abc import Sequence
from typing import Any

from robossl.cells.processes import WorkerProcess, worker_pool
from robossl.cells.work import Deaths, Died, NextJob, Resources, Work, check_answer, gpu_shares


def run_actors(
    works: Sequence[Work], resources: Resources, next_job: NextJob, died: Died | None = None
) -> None:
    """Run an actor for each work until `next_job` has no job for any of them.

    Each actor has one job at a time. If it dies, the job is given again to a new actor of the same work, so a job must
    continue, or begin again, from what is on the disk.

    Args:
        works: What each actor runs; with the local engine all of them run at once.
        resources: Engine, and the share of each actor.
        next_job: Called after each answer; jobs and answers are JSON values.
        died: Called when an actor has died, before the new one is started.

    Raises:
        OperationError: A job failed, or an actor died several times in a row.
    """
    if resources.engine == "ray":
        from robossl.cells.ray_actors import run_ray_actors

        run_ray_actors(works, resources, next_job, died)
        return
    gpus = gpu_shares(resources.gpus, len(works))
    jobs: dict[int, dict[str, Any]] = {}
    deaths = Deaths(died)
    with worker_pool() as pool, selectors.DefaultSelector() as selector:

        def start(index: int) -> None:
            worker = WorkerProcess(works[index], resources.threads, gpus[index % len(gpus)])
            pool.append(worker)
            selector.register(worker.output, selectors.EVENT_READ, (index, worker))
            worker.send(jobs[index])

        def stop(worker: WorkerProcess) -> None:
            selector.unregister(worker.output)
            worker.kill()
            pool.remove(worker)

        for index in range(len(works)):
            if (job := next_job(index, None)) is not None:
                jobs[index] = job
                start(index)
        while jobs:
            for key, _ in selector.select():
                index, worker = key.data
                answer = worker.receive()
                if "died" in answer:
                    stop(worker)
                    deaths.add(index, answer["died"])
                    start(index)
                    continue
                deaths.reset(index)
                check_answer(answer)
                following = next_job(index, answer)
                if following is None:
                    del jobs[index]
                    stop(worker)
                else:
                    jobs[index] = following
                    worker.send(following)
