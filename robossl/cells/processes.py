"""Worker processes of this machine, which exchange lines of JSON with this process.

A worker whose parent is gone ends at once; all that jobs write appears atomically, so nothing is half done.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from robossl.cells.schedule import JobT, Schedule
from robossl.cells.work import Resources, Work, gpu_shares, worker_environment
from robossl.core.errors import OperationError

WORKER = ("-m", "robossl.cells.cell_worker")


class WorkerProcess:
    """A process that runs jobs."""

    def __init__(self, work: Work, threads: int, gpu: str | None = None) -> None:
        """Start a process with `threads` CPU threads and these GPUs."""
        self.gpu = gpu
        self._process = subprocess.Popen(
            [sys.executable, *WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **worker_environment(threads, gpu)},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the workers
        )  # fmt: skip
        self.output: Any = self._process.stdout
        self.send({"target": work.target, "settings": work.settings})

    @property
    def process_id(self) -> int:
        """Id of the process."""
        return self._process.pid

    def send(self, value: dict[str, Any]) -> None:
        """Start a job, given as JSON values."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `receive` finds out
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the answer to a job, or {"died": how} if the process ended."""
        line = self.output.readline()
        if line.endswith(b"\n"):
            return json.loads(line)
        code = self._process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return {"died": f"the worker process was ended {how}"}

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def worker_pool() -> Iterator[list[WorkerProcess]]:
    """Yield an empty list; the workers that are in it at the end of the block are ended, however it ends."""
    pool: list[WorkerProcess] = []
    try:
        yield pool
    finally:
        for worker in pool:
            worker.kill()


def run_in_processes(
    work: Work,
    resources: Resources,
    finished: Callable[[JobT, str | None], None],
    schedule: Schedule[JobT],
    count: int,
    retries: int,
) -> None:
    """Run the jobs of a schedule in worker processes.

    Args:
        work: What runs them.
        resources: Number of workers and the share of each.
        finished: Called after each job with the reason if it failed.
        schedule: The jobs that are left.
        count: Number of jobs.
        retries: How often a job runs again whose worker died; then it has failed.
    """
    gpus = gpu_shares(resources.gpus, min(resources.local_workers, count))
    deaths: Counter[str] = Counter()
    with worker_pool() as pool, selectors.DefaultSelector() as selector:

        def start(gpu: str | None) -> WorkerProcess:
            worker = WorkerProcess(work, resources.threads, gpu)
            pool.append(worker)
            selector.register(worker.output, selectors.EVENT_READ, worker)
            return worker

        def drop(worker: WorkerProcess) -> None:
            selector.unregister(worker.output)
            worker.kill()
            pool.remove(worker)

        idle = [start(gpu) for gpu in gpus]
        busy: dict[WorkerProcess, JobT] = {}
        while not schedule.finished:
            while idle and (job := schedule.next()) is not None:
                worker = idle.pop()
                busy[worker] = job
                worker.send(job.to_json())
            for key, _ in selector.select():
                worker = key.data
                answer = worker.receive()
                if worker not in busy:  # it ended while it had no job
                    drop(worker)
                    idle.remove(worker)
                    if not pool:
                        raise OperationError(answer["died"])
                    continue
                job = busy.pop(worker)
                if "stop" in answer:
                    raise OperationError(answer["stop"])
                error = answer.get("error")
                if "died" in answer:
                    error = answer["died"]
                    drop(worker)
                    worker = start(worker.gpu)
                idle.append(worker)
                deaths[job.name] += "died" in answer
                if "died" in answer and deaths[job.name] <= retries:
                    schedule.again(job)
                else:
                    finished(job, error)
