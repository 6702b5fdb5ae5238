"""`robossl.transfer`: run a study of a robot, resume it, and write its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.cells.work import Resources
from robossl.core.errors import OperationError, UsageError, shell_path
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.limits import check_seeds
from robossl.core.small_files import as_path
from robossl.core.system_info import cores
from robossl.study.execution import run_study_jobs
from robossl.study.jobs import Job, Plan, Planner, check_rows
from robossl.study.protocol import check_policies, load_protocol, override
from robossl.study.study_folder import Selection, Study, StudySpec, is_study, locked, open_study, read_spec
from robossl.study.study_report import write_report
from robossl.study.tasks import resolve_tasks
from robossl.training import output_dirs
from robossl.training.config import thread_count
from robossl.training.shard_collection import is_installed
from robossl.training.work_context import interrupt_message

BUDGET = "quick"


@dataclass(frozen=True)
class TransferRequest:
    """Run a study, or resume one."""

    robot: str | None = None  # a robot or one of its tasks; None: `tasks` has env ids
    budget: str = BUDGET
    rows: Sequence[str] | None = None  # None: those of the budget
    tasks: Sequence[str] | None = None  # None: those of the budget
    seeds: Sequence[int] | None = None  # stream seeds; None: as many as the budget has, from 0
    agent_seeds: int | None = None  # for each stream seed; None: that of the budget
    out: str | Path | None = None  # None: studies/ROBOT-BUDGET
    workers: int = 0  # processes; 0: one for each core, or one alone if other processes do not know the tasks
    threads: int = 1  # CPU threads of each
    pixels: int = 0  # edge of image observations; 0: the observations of the envs
    retry_failed: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)  # in place of those of the budget
    resume: str | Path | None = None  # a study folder, whose settings are used
    engine: str = "local"  # local, processes of this machine; or ray
    # exploration policies, each of which records an equal part of the stream; None: those of the budget
    policies: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a wrong value."""
        if self.threads < 0:
            raise UsageError(f"threads: expected 0 or more, got {self.threads}")
        Resources(self.engine, self.workers, thread_count(self.threads))
        for name, low, high in (("pixels", 0, None), ("agent_seeds", 1, 1000)):
            value = getattr(self, name)
            if value is not None and not low <= value <= (high or value):
                raise UsageError(f"{name}: expected {low} or more, got {value}")
        if self.seeds is not None:
            check_seeds(self.seeds)
        if self.policies is not None:
            check_policies(self.policies)
        settings = {
            "a robot": self.robot, "rows": self.rows, "tasks": self.tasks, "seeds": self.seeds, "out": self.out,
            "budget": None if self.budget == BUDGET else self.budget, "agent_seeds": self.agent_seeds,
            "pixels": self.pixels or None, "policies": self.policies, **self.sizes,
        }  # fmt: skip
        given = [name for name, value in settings.items() if value is not None]
        if self.resume is not None and given:
            raise UsageError(f"resume uses the settings of the study, got {', '.join(given)} as well")


def run_transfer(request: TransferRequest, progress: ProgressReporter) -> dict[str, Any]:
    """Run the cells of a study that have no result yet, and write its report.

    Returns:
        The report, with the folder of the study under "folder".

    Raises:
        UsageError: The request cannot be fulfilled.
        OperationError: The disk is full; all finished cells are kept.
    """
    folder, spec, selection = _resolve(request)
    if not is_study(folder):
        Planner(Study(folder, spec, selection), load_protocol()).check()
    with locked(folder):
        study = open_study(folder, spec, selection)
        study.clean()
        plan = Planner(study, load_protocol()).plan(selection, request.retry_failed)
        command = f"robossl transfer --resume {shell_path(folder)}"
        try:
            with interrupt_message(f"the finished cells are kept; go on with: {command}"):
                _run(study, plan, request, progress)
        except KeyboardInterrupt:
            write_report(study, plan)
            raise
        except OperationError as error:
            raise OperationError(f"{error}; the finished cells are kept; go on with: {command}") from error
        report = write_report(study, plan)
    return {**report, "folder": str(folder)}


def _resolve(request: TransferRequest) -> tuple[Path, StudySpec, Selection]:
    """Return folder, spec and cells of a request; all that it names is checked."""
    protocol = load_protocol()
    if request.resume is not None:
        folder = Path(request.resume)
        spec, selection = read_spec(folder)
        for task in (spec.stream_task, *selection.tasks):
            registry.env_spec(registry.check_recorded_env(task, folder / "protocol.json"))
        check_rows(protocol, selection.rows)
        if (expected := protocol.hash(spec.sizes, spec.stream_task, spec.pixels)) != spec.protocol:
            raise UsageError(
                f"{folder}: expected a study of protocol {expected}, got protocol {spec.protocol} of another version "
                "of robossl; start a new study"
            )
        return folder, spec, selection
    budget = protocol.budget(request.budget)
    rows = check_rows(protocol, budget.rows if request.rows is None else request.rows)
    sizes = override(budget.sizes, request.sizes, request.policies)
    tasks = resolve_tasks(protocol, request.robot, request.tasks, budget.tasks, request.pixels)
    seeds = range(budget.stream_seeds) if request.seeds is None else dict.fromkeys(request.seeds)
    agents = range(request.agent_seeds or budget.agent_seeds)
    selection = Selection(rows, tasks.tasks, tuple(sorted(seeds)), tuple(agents))
    spec = StudySpec.make(protocol, tasks.robot, request.budget, tasks.stream_task, request.pixels, sizes)
    name = "-".join(output_dirs.slug(part) for part in (tasks.robot,) if part) or "study"
    folder = as_path(f"studies/{name}-{request.budget}" if request.out is None else request.out, "a folder")
    return folder, spec, selection


def _run(study: Study, plan: Plan, request: TransferRequest, progress: ProgressReporter) -> None:
    """Run the jobs, and report each."""
    total = sum(max(len(job.cells), 1) for job in plan.jobs)
    if not total:
        return
    left, all_cells = sum(len(job.cells) for job in plan.jobs), len(plan.cells)
    progress.message(
        f"study {study.folder}, protocol {study.spec.protocol}: {left} of {all_cells} cells to run"
    )

    def finished(job: Job, error: str | None, by_need: bool) -> None:
        if error is not None:
            if not by_need:
                progress.message(f"{job.name} failed: {error}")
            for cell in job.cells:
                if "error" in (study.result(cell) or {"error": ""}):  # else its worker ended after it wrote
                    study.write_result(cell, {"error": error})
        for cell in job.cells if error is None else ():
            result = study.result(cell) or {}
            if "error" in result:
                progress.message(f"{cell.id} failed: {result['error']}")
        progress.update(max(len(job.cells), 1))

    trusted = [task for task in (study.spec.stream_task, *study.selection.tasks) if ":" in task]
    threads = thread_count(request.threads)
    workers = request.workers or (_free_workers(study, threads) if request.engine == "local" else 0)
    progress.start("run the study", total, "parts")
    try:
        run_study_jobs(study, plan.jobs, Resources(request.engine, workers, threads), finished, trusted)
    finally:
        progress.stop()


def _free_workers(study: Study, threads: int) -> int:
    """Return a worker for each core; one alone if another process would not know a task."""
    known = all(map(is_installed, {study.spec.stream_task, *study.selection.tasks}))
    return max(cores() // threads, 1) if known else 1


def transfer(
    robot: str | None = None,
    budget: str = BUDGET,
    rows: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    agent_seeds: int | None = None,
    out: str | Path | None = None,
    workers: int = 0,
    threads: int = 1,
    pixels: int = 0,
    retry_failed: bool = False,
    resume: str | Path | None = None,
    progress: ProgressReporter | None = None,
    engine: str = "local",
    policies: Sequence[str] | None = None,
    **sizes: int,
) -> dict[str, Any]:
    """Evaluate how far representations of a reward-free stream carry to the tasks of a robot.

    Finished cells of a study are never run again: the same call, or `resume`, goes on after any end.

    Example:
        report = robossl.transfer("walker", budget="quick", out="studies/walker")
        robossl.load("studies/walker").to_dataframe("transfer")

    Args:
        robot: A robot (walker), or one of its tasks; None with env ids as `tasks`.
        budget: quick, standard or full.
        rows: Rows of the table; None: those of the budget.
        tasks: Tasks of the robot, or env ids that share observations and actions; None: those of the budget.
        seeds: Stream seeds: everything is made for each of them; None: those of the budget.
        agent_seeds: Number of agent seeds for each stream seed; None: that of the budget.
        out: Folder of the study; None: studies/ROBOT-BUDGET. A study of the same protocol in it goes on.
        workers: Processes; 0: one for each core, or one alone if a task is registered by this process only.
        threads: CPU threads of each process; with several processes at most as many in all as there are cores.
        pixels: Edge of image observations; 0: the observations of the envs.
        retry_failed: Run failed cells again.
        resume: Folder of a study, whose settings are used.
        progress: Receives the finished parts.
        engine: local, processes of this machine; or ray, tasks of a Ray cluster.
        policies: Exploration policies, each of which records an equal part of the stream, in this order; None: those of
            the budget. They change the protocol hash.
        sizes: Sizes in place of those of the budget: stream_steps, model_updates, offline_updates, online_steps,
            episodes, hidden, batch_size, goal_trials. They change the protocol hash.

    Returns:
        The report, with the folder of the study under "folder"; the results are in its section "transfer".
    """
    request = TransferRequest(
        robot,
        budget,
        rows,
        tasks,
        seeds,
        agent_seeds,
        out,
        workers,
        threads,
        pixels,
        retry_failed,
        sizes,
        resume,
        engine,
        policies,
    )
    return run_transfer(request, progress or NullProgress())
