"""Execution of the jobs of a study: in this process, in worker processes, or as tasks of Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robossl import registry
from robossl.cells.engine import run_jobs
from robossl.cells.work import Resources, Run, Work
from robossl.core.errors import OperationError, error_line
from robossl.core.interfaces import NullProgress
from robossl.core.io import write_json
from robossl.study.cell_work import CellWork
from robossl.study.goal_distance import measure_goals
from robossl.study.jobs import Job
from robossl.study.preparation import Preparation
from robossl.study.protocol import load_protocol
from robossl.study.study_folder import Study, is_disk_full, read_spec
from robossl.training.work_context import torch_threads

RUNNER = "robossl.study.execution:job_runner"


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

    def answer(self, job: dict[str, Any]) -> dict[str, str]:
        """Run a job that is given as JSON values."""
        error = self.run(Job.from_json(job))
        return {} if error is None else {"error": error}

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


def job_runner(settings: dict[str, Any]) -> Run:
    """Return what runs the jobs of the study in `settings["folder"]`, in a worker process.

    Args:
        settings: The folder, the number of threads, and names `package:id` that the user typed, whose packages are
            imported.
    """
    for env in settings["trusted"]:
        registry.trust_env(env)
    spec, selection = read_spec(settings["folder"])
    return JobRunner(Study(settings["folder"], spec, selection), settings["threads"]).answer


def run_study_jobs(
    study: Study,
    jobs: Sequence[Job],
    resources: Resources,
    finished: Callable[[Job, str | None, bool], None],
    trusted: Sequence[str] = (),
) -> None:
    """Run jobs of a study, and those that need them afterwards.

    Args:
        study: The study.
        jobs: All jobs that are left.
        resources: Engine, number of workers and the share of each; one local worker is this process.
        finished: Called after each job with the reason if it failed, and whether only something that it needs failed.
        trusted: Names `package:id` that the user typed, whose packages the workers import.
    """
    settings = {
        "folder": str(study.folder.resolve()),
        "threads": resources.threads,
        "trusted": list(trusted),
    }
    run_jobs(
        jobs,
        Work(RUNNER, settings),
        resources,
        finished,
        lambda: JobRunner(study, resources.threads).answer,
    )
