"""`robossl.sweep`: list, run and summarize a sweep; or run one of its cells, as a job of a cluster does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.cells.engine import run_jobs
from robossl.cells.work import Resources, Run, Work
from robossl.core.errors import OperationError, UsageError, error_line, shell_path
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.limits import check_count
from robossl.core.small_files import as_path
from robossl.study.study_folder import is_disk_full
from robossl.sweeps.cell_commands import COMMANDS
from robossl.sweeps.grid import Grid, SweepCell, read_grid
from robossl.sweeps.sweep_folder import SweepFolder, open_sweep, read_sweep
from robossl.sweeps.sweep_summary import summarize, write_summary
from robossl.training.work_context import interrupt_message, torch_threads

RUNNER = "robossl.sweeps.sweep_run:cell_runner"
_RETRIES = 2  # of a cell whose worker process died
_WAIT = 60.0  # [s] for a dying process that still has the lock of a cell


@dataclass(frozen=True)
class SweepRequest:
    """Run a sweep, or go on with it."""

    source: str | Path | Mapping[str, Any]  # a sweep file or its content
    out: str | Path | None = None  # None: as the file names it, else sweeps/NAME of the file
    engine: str = "local"  # local, processes of this machine; or ray
    workers: int = 0  # cells at the same time; 0: as many as fit
    cpus_per_cell: int | None = None  # None: as before, or 1
    gpus_per_cell: float = 0.0
    cell: int | None = None  # run this cell only, in this process
    retry_failed: bool = False
    trusted: Sequence[str] = ()  # packages of envs that the user typed

    def __post_init__(self) -> None:
        """Raise UsageError for a wrong value."""
        if self.cpus_per_cell is not None:
            check_count("cpus_per_cell", self.cpus_per_cell)
        if self.cell is not None:
            check_count("cell", self.cell, 0)
        if (
            isinstance(self.trusted, (str, bytes))
            or not isinstance(self.trusted, Sequence)
            or not all(isinstance(name, str) for name in self.trusted)
        ):
            raise UsageError(f"trusted: expected names of packages, got {self.trusted!r}")
        self.resources(self.cpus_per_cell or 1)
        if self.cell is not None and (self.engine != "local" or self.workers or self.gpus_per_cell):
            raise UsageError(
                "cell: expected no engine, workers or gpus_per_cell beside it: one cell runs in this process"
            )

    def resources(self, threads: int) -> Resources:
        """Return the workers for cells of `threads` CPU threads."""
        return Resources(self.engine, self.workers, threads, self.gpus_per_cell)


def sweep(
    source: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    engine: str = "local",
    workers: int = 0,
    cpus_per_cell: int | None = None,
    gpus_per_cell: float = 0.0,
    cell: int | None = None,
    retry_failed: bool = False,
    progress: ProgressReporter | None = None,
    trusted: str | Sequence[str] = (),
) -> dict[str, Any]:
    """Run a grid of cells: each one command with its own settings and folder.

    A finished cell is never run again, an unfinished one goes on: after any end the same call continues.

    Example:
        robossl.sweep({
            "command": "learn",
            "settings": {"env": "robossl/Reacher-v0", "steps": 20_000},
            "axes": {"seed": [0, 1, 2], "world_model.latent_dim": [16, 64]},
        }, out="sweeps/reacher")

    Args:
        source: A sweep file (docs/scale.md), or its content.
        out: Folder of the sweep; missing, empty, or one with the same sweep. Default: sweeps/NAME of the file.
        engine: local, processes of this machine; or ray, tasks of a Ray cluster.
        workers: Cells at the same time; 0: as many as fit.
        cpus_per_cell: CPU threads of each cell for MuJoCo, torch and BLAS; None: 1, or as the sweep began.
        gpus_per_cell: GPUs of each cell; 0.5: two cells share one.
        cell: Run this cell only, in this process, without a lock on the whole sweep.
        retry_failed: Run failed cells again.
        progress: Receives the finished cells.
        trusted: Packages that this process and the cells may import to find envs: "my_package".

    Returns:
        The summary, see `robossl.sweeps.sweep_summary.summarize`, with the folder under "folder".

    Raises:
        UsageError: The sweep has an unknown key, or another process runs it.
        OperationError: The disk is full; all finished cells are kept.
    """
    names = (trusted,) if isinstance(trusted, str) else trusted
    request = SweepRequest(
        source, out, engine, workers, cpus_per_cell, gpus_per_cell, cell, retry_failed, names
    )
    return run_sweep(request, progress or NullProgress())


def run_sweep(request: SweepRequest, progress: ProgressReporter) -> dict[str, Any]:
    """Run the cells that have no result yet, and write the summary."""
    grid, folder = prepare(request)
    if request.cell is not None:
        return _run_one(request, grid, folder, progress)
    opened = open_sweep(folder, grid, request.cpus_per_cell)
    with opened.lock():
        command = _command(request)
        try:
            with interrupt_message(f"the finished cells are kept; go on with: {command}"):
                _run_open_cells(opened, request, progress)
        except KeyboardInterrupt:
            write_summary(opened)
            raise
        except OperationError as error:
            raise OperationError(f"{error}; the finished cells are kept; go on with: {command}") from error
        summary = write_summary(opened)
    return {**summary, "folder": str(folder)}


def prepare(request: SweepRequest) -> tuple[Grid, Path]:
    """Return the grid and the folder of a request, after checking the settings of its cells.

    Each value of an axis is checked once; of a request for one cell, as of a job of an array, that cell alone.
    """
    grid, named = read_grid(request.source, tuple(COMMANDS))
    for package in request.trusted:
        registry.trust_env(package, package=True)
    cells = grid.samples() if request.cell is None else [_cell_of(grid, request.cell)]
    _check_cells(grid.command, cells, request.cpus_per_cell or 1)
    if request.out is not None:
        return grid, as_path(request.out, "a folder")
    if named is not None:
        return grid, Path(named)
    if isinstance(request.source, Mapping):
        raise UsageError("out: expected a folder for a sweep that is not a file, got none")
    return grid, Path("sweeps") / Path(request.source).stem


def _cell_of(grid: Grid, index: int) -> SweepCell:
    """Return a cell by its number."""
    cells = grid.cells()
    if index >= len(cells):
        raise UsageError(
            f"cell: expected 0 to {len(cells) - 1} for a sweep of {len(cells)} cells, got {index}"
        )
    return cells[index]


def _check_cells(command: str, cells: Sequence[SweepCell], threads: int) -> None:
    """Raise UsageError for a cell with an unknown setting or a wrong value."""
    for cell in cells:
        given = cell.settings.get("threads")
        if given is not None and given != threads:
            raise UsageError(f"threads: expected cpus_per_cell ({threads}) in place of it, got {given!r}")
        try:
            COMMANDS[command].check(cell.settings, threads)
        except UsageError as error:
            raise UsageError(f"cell {cell.index}: {error}") from error


def _command(request: SweepRequest) -> str:
    source = "SWEEP.toml" if isinstance(request.source, Mapping) else shell_path(request.source)
    return f"robossl sweep {source}" + ("" if request.out is None else f" --out {shell_path(request.out)}")


def list_cells(request: SweepRequest) -> list[dict[str, Any]]:
    """Return {"index", "name", "state", "values"} of each cell; nothing is written."""
    grid, folder = prepare(request)
    opened = SweepFolder(folder, grid, request.cpus_per_cell or 1)
    return [
        {"index": cell.index, "name": cell.name, "state": opened.state(cell), "values": cell.values}
        for cell in grid.cells()
    ]


def _run_open_cells(opened: SweepFolder, request: SweepRequest, progress: ProgressReporter) -> None:
    cells, left = opened.grid.cells(), opened.open_cells(request.retry_failed)
    if not left:
        return
    progress.message(f"sweep {opened.folder}: {len(left)} of {len(cells)} cells to run")

    def finished(cell: SweepCell, error: str | None, by_need: bool) -> None:
        result = opened.result(cell) or {}
        if error is not None and "measures" not in result:  # else its worker ended after it wrote
            result = {"error": error}
            opened.write_result(cell, **result)
        if "error" in result:
            progress.message(f"cell {cell.index} ({cell.name}) failed: {result['error']}")
        progress.update(1)

    settings = {
        "folder": str(opened.folder.resolve()),
        "working_folder": os.getcwd(),
        "trusted": list(request.trusted),
    }
    progress.start("run the sweep", len(left), "cells")
    try:
        run_jobs(
            left,
            Work(RUNNER, settings),
            request.resources(opened.threads),
            finished,
            retries=_RETRIES,
        )
    finally:
        progress.stop()


def cell_runner(settings: dict[str, Any]) -> Run:
    """Return what runs the cells of the sweep in `settings["folder"]`, in a worker process.

    Args:
        settings: The folder, the working folder of relative paths, and packages of envs that the user trusts.
    """
    os.chdir(settings["working_folder"])
    for env in settings["trusted"]:
        registry.trust_env(env, package=True)
    opened = read_sweep(settings["folder"])

    def run(job: dict[str, Any]) -> dict[str, Any]:
        run_cell(opened, SweepCell.from_json(job), NullProgress(), _WAIT)
        return {}

    return run


def run_cell(
    opened: SweepFolder, cell: SweepCell, progress: ProgressReporter, wait: float = 0.0
) -> dict[str, Any]:
    """Run a cell, or go on with it, and write its result; an error of the cell is its result.

    Args:
        opened: The sweep.
        cell: The cell.
        progress: Receives the progress of the command.
        wait: Seconds to wait for another process that has the cell.

    Raises:
        UsageError: Another process has the cell.
        OperationError: The disk is full.
    """
    with opened.lock_cell(cell, wait):
        before = opened.result(cell)
        if before is not None and "error" not in before:
            return before
        command, threads = COMMANDS[opened.grid.command], opened.threads
        try:
            with torch_threads(threads):
                measures = command.run(cell.settings, opened.cell_path(cell), threads, progress)
            opened.write_result(cell, measures=measures)
        except Exception as error:
            if is_disk_full(error):
                raise OperationError(error_line(error)) from error
            opened.write_result(cell, error=error_line(error))
    return opened.result(cell) or {}


def _run_one(request: SweepRequest, grid: Grid, folder: Path, progress: ProgressReporter) -> dict[str, Any]:
    """Run one cell, as a job of an array does; other jobs may run other cells of the folder."""
    assert request.cell is not None
    cell, opened = _cell_of(grid, request.cell), open_sweep(folder, grid, request.cpus_per_cell)
    result = opened.result(cell)
    if result is None or ("error" in result and request.retry_failed):
        result = run_cell(opened, cell, progress)
    if "error" in result:
        raise OperationError(
            f"cell {cell.index} ({cell.name}) failed: {result['error']}; to try again: {_command(request)} "
            f"--cell {cell.index} --retry-failed"
        )
    summary = summarize(opened) if opened.open_cells() else write_summary(opened)
    return {**summary, "folder": str(folder), "cell": cell.name}
