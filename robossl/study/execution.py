"""Execution of jobs: in this process, or in worker processes that read jobs as lines of JSON.

Workers exchange JSON alone. A worker whose parent is gone ends at once; all it writes appears atomically, so nothing is
half done.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError
from robossl.core.interfaces import NullProgress
from robossl.core.io import write_json
from robossl.study.cell_work import CellWork, error_line
from robossl.study.goal_distance import measure_goals
from robossl.study.jobs import Job
from robossl.study.preparation import Preparation
from robossl.study.protocol import load_protocol
from robossl.study.study_folder import Study, is_disk_full
from robossl.training.work_context import torch_threads

WORKER = ("-m", "robossl.study.study_worker")


class JobRunner:
    """Runs one job at a time in this process."""

    def __init__(self, study: Study, threads: int) -> None:
        """Prepare to run jobs of a study with `threads` CPU threads."""
        self._study, self._threads, protocol = study, threads, load_protocol()
        progress = NullProgress()  # the study counts whole jobs
        self._preparation = Preparation(study, protocol, progress, threads)
        self._cells = CellWork(study, protocol, self._preparation, progress, threads)

    def run(self, job: Job) -> str | None:
        """Run a job; return None, or in one line why it failed.

        An error of a cell is its result, and no failure of the job.

        Raises:
            OperationError: The disk is full.
        """
        with torch_threads(self._threads):
            try:
                self._run(job)
            except Exception as error:
                if is_disk_full(error):
                    raise OperationError(error_line(error)) from error
                return error_line(error)
        return None

    def _run(self, job: Job) -> None:
        if job.kind == "stream":
            self._preparation.make_stream(job.seed, job.numbers)
        elif job.kind == "labels":
            self._preparation.make_labels(job.seed, job.task, job.relabel, job.numbers)
        elif job.kind == "model":
            self._preparation.make_model(job.seed, job.model)
        elif job.kind == "goals":
            found = measure_goals(self._study, self._preparation, job.seed, self._threads)
            path = self._study.folder / "goals" / f"{job.seed}.json"
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"protocol": self._study.spec.protocol, **found}, checksum=True)
        else:
            self._cells.run(job.name, job.cells)


class Schedule:
    """The jobs that are left, in an order that their needs allow; the longest first."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._open = {job.name: {name for name in job.needs if name in self._jobs} for job in jobs}
        self._order = {job.name: index for index, job in enumerate(jobs)}
        self._failed: dict[str, str] = {}
        self._ready: list[tuple[float, int, str]] = []
        self._running: set[str] = set()
        for name in [name for name, needs in self._open.items() if not needs]:
            self._push(name)

    def _push(self, name: str) -> None:
        del self._open[name]
        heapq.heappush(self._ready, (-self._jobs[name].cost, self._order[name], name))

    def next(self) -> Job | None:
        """Return a job that can start, None if there is none now."""
        if not self._ready:
            return None
        job = self._jobs[heapq.heappop(self._ready)[2]]
        self._running.add(job.name)
        return job

    @property
    def finished(self) -> bool:
        """Whether no job is left or running."""
        return not self._ready and not self._running

    def done(self, job: Job, error: str | None) -> list[tuple[Job, str]]:
        """Note that a job is done; return the jobs that cannot be done because it failed, with the reason."""
        self._running.discard(job.name)
        if error is not None:
            return self._lose(job.name, f"{job.name} failed: {error}")
        for name in [name for name, needs in self._open.items() if job.name in needs]:
            self._open[name].discard(job.name)
            if not self._open[name]:
                self._push(name)
        return []

    def _lose(self, name: str, reason: str) -> list[tuple[Job, str]]:
        """Remove all jobs that need a failed one."""
        lost = []
        for waiting in [other for other, needs in self._open.items() if name in needs]:
            if self._open.pop(waiting, None) is not None:
                lost += [(self._jobs[waiting], reason), *self._lose(waiting, reason)]
        return lost


def run_jobs(
    study: Study,
    jobs: Sequence[Job],
    workers: int,
    threads: int,
    finished: Callable[[Job, str | None, bool], None],
    trusted: Sequence[str] = (),
) -> None:
    """Run jobs, and those that need them afterwards.

    Args:
        study: The study.
        jobs: All jobs that are left.
        workers: Number of processes; with 1 the jobs run in this process.
        threads: CPU threads of each.
        finished: Called after each job with the reason if it failed, and whether only something that it needs failed.
        trusted: Names `package:id` that the user typed, whose packages the workers import.
    """
    schedule = Schedule(jobs)

    def note(job: Job, error: str | None) -> None:
        finished(job, error, False)
        for lost, reason in schedule.done(job, error):
            finished(lost, reason, True)

    if workers == 1 or len(jobs) < 2:
        runner = JobRunner(study, threads)
        while (job := schedule.next()) is not None:
            note(job, runner.run(job))
        return
    with _pool(study.folder, min(workers, len(jobs)), threads, trusted) as pool:
        idle = list(pool)
        busy: dict[_Worker, Job] = {}
        with selectors.DefaultSelector() as selector:
            for worker in pool:
                selector.register(worker.output, selectors.EVENT_READ, worker)
            while not schedule.finished:
                while idle and (job := schedule.next()) is not None:
                    worker = idle.pop()
                    busy[worker] = job
                    worker.send(job)
                for key, _ in selector.select():
                    worker = key.data
                    answer = worker.receive()
                    if worker not in busy:
                        raise OperationError(
                            f"a worker process ended before its first job: {answer.get('died')}"
                        )
                    job = busy.pop(worker)
                    if "full" in answer:
                        raise OperationError(answer["full"])
                    error = answer.get("error")
                    if "died" in answer:
                        error = answer["died"]
                        selector.unregister(worker.output)
                        worker = _Worker(study.folder, threads, trusted)
                        pool.append(worker)
                        selector.register(worker.output, selectors.EVENT_READ, worker)
                    idle.append(worker)
                    note(job, error)


class _Worker:
    """A process that runs jobs."""

    def __init__(self, folder: Path, threads: int, trusted: Sequence[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*sys.path]))
        self._process = subprocess.Popen(
            [sys.executable, *WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the workers
        )  # fmt: skip
        self.output: Any = self._process.stdout
        self._write({"folder": str(folder), "threads": threads, "trusted": list(trusted)})

    def _write(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `receive` finds out
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()

    def send(self, job: Job) -> None:
        """Start a job."""
        self._write(job.to_json())

    def receive(self) -> dict[str, Any]:
        """Return the answer to a job: {}, {"error"}, {"full"} or, if the process ended, {"died"}."""
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
def _pool(folder: Path, count: int, threads: int, trusted: Sequence[str]) -> Iterator[list[_Worker]]:
    """Yield workers that are ended at the end of the block, however it ends."""
    pool: list[_Worker] = []
    try:
        for _ in range(count):
            pool.append(_Worker(folder, threads, trusted))
        yield pool
    finally:
        for worker in pool:
            worker.kill()
