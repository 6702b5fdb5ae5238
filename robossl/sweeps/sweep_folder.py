"""The folder of a sweep: its grid, the folders and results of its cells, and locks against a second process.

FOLDER/manifest.json      kind "sweep"
FOLDER/sweep.json         the grid
FOLDER/cells/NAME         the folder of a cell, as its command writes it
FOLDER/results/NAME.json  the numbers of a finished cell, or its error
FOLDER/summary.json       all numbers with intervals over seeds, and summary.md
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.folder_lock import FolderLock
from robossl.core.io import write_json
from robossl.core.small_files import checked, read_json, read_result
from robossl.sweeps.grid import Grid, SweepCell
from robossl.training import output_dirs

KIND = "sweep"
_SPEC, _LOCK = "sweep.json", "sweep.lock"
_REFUSAL = "another process runs the sweep {folder} ({owner}); wait for it, or give another --out"
_CELL_REFUSAL = "another process runs this cell of {folder} ({owner})"
_FORMAT = 1
_WAIT = 0.2  # [s] between two attempts to lock a cell


class SweepFolder:
    """An open folder of a sweep."""

    def __init__(self, folder: str | Path, grid: Grid, threads: int) -> None:
        """Use a folder; `open_sweep` creates and checks it.

        Args:
            folder: The folder.
            grid: The grid.
            threads: CPU threads of each cell, which decide its result bit by bit.
        """
        self.folder, self.grid, self.threads = Path(folder), grid, threads

    # --- cells

    def cell_path(self, cell: SweepCell) -> Path:
        """Return the folder of a cell."""
        return self.folder / "cells" / cell.name

    def result(self, cell: SweepCell) -> dict[str, Any] | None:
        """Return the result of a cell, {"measures"} or {"error"}; None if it is not finished.

        Raises:
            CorruptedFileError: The file is damaged, or belongs to another cell.
        """
        path = self._result_path(cell)
        if not path.is_file():
            return None
        result = read_result(path)
        if checked(result, "settings", dict, path) != cell.settings:
            raise CorruptedFileError(
                f"{path} is damaged: expected the result of cell {cell.name}; remove it, and the same command computes "
                "it again"
            )
        return result

    def write_result(self, cell: SweepCell, **result: Any) -> None:
        """Write the result of a cell in one step: with it the cell is finished."""
        content = {"command": self.grid.command, "values": cell.values, "settings": cell.settings, **result}
        write_json(self._result_path(cell), content, checksum=True)

    def state(self, cell: SweepCell) -> str:
        """Return the state of a cell: finished, failed, begun or open."""
        result = self.result(cell)
        if result is not None:
            return "failed" if "error" in result else "finished"
        return "begun" if self.cell_path(cell).is_dir() else "open"

    def open_cells(self, retry_failed: bool = False) -> list[SweepCell]:
        """Return the cells that are not finished; failed ones only with `retry_failed`."""
        left = ("open", "begun", "failed") if retry_failed else ("open", "begun")
        return [cell for cell in self.grid.cells() if self.state(cell) in left]

    def lock_cell(self, cell: SweepCell, wait: float = 0.0) -> FolderLock:
        """Acquire the lock of a cell.

        Args:
            cell: The cell.
            wait: Seconds to wait for a process that has it, such as one that is about to end.

        Raises:
            UsageError: Another process has the lock.
        """
        due = time.monotonic() + wait
        path = self._result_path(cell)
        while True:
            try:
                return FolderLock(path.parent, f"{cell.name}.lock", _CELL_REFUSAL)
            except UsageError:
                if time.monotonic() >= due:
                    raise
            time.sleep(_WAIT)

    def _result_path(self, cell: SweepCell) -> Path:
        return self.folder / "results" / f"{cell.name}.json"

    # --- the sweep

    def lock(self) -> FolderLock:
        """Acquire the lock of the sweep; raise UsageError if another process runs it."""
        return FolderLock(self.folder, _LOCK, _REFUSAL)


def open_sweep(folder: Path, grid: Grid, threads: int | None) -> SweepFolder:
    """Create a sweep in an empty or missing folder, or open the one in it; its axes may have got more values.

    Args:
        folder: The folder.
        grid: The grid.
        threads: CPU threads of each cell; None: as before, or 1.

    Raises:
        UsageError: The folder has something else, a sweep with other settings, or another number of threads.
    """
    if (folder / output_dirs.MANIFEST).is_file():
        found = read_sweep(folder)
        _check_same(folder, found, grid, threads)
        if found.grid != grid:
            _write_spec(folder, grid, found.threads)
        return SweepFolder(folder, grid, found.threads)
    if folder.exists():
        others = ["a file"] if not folder.is_dir() else sorted(_others(folder))
        if output_dirs.MANIFEST in others:  # another job of an array has written it since
            return open_sweep(folder, grid, threads)
        if others:
            raise UsageError(f"{folder} exists and is no sweep (it has {others[0]}); give another --out")
    try:
        for name in ("cells", "results"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder}: {error.strerror}") from error
    _write_spec(folder, grid, threads or 1)
    output_dirs.write_manifest(folder, KIND, command=grid.command)
    return SweepFolder(folder, grid, threads or 1)


def _others(folder: Path) -> list[str]:
    """Return what a folder has that a sweep without manifest does not."""
    own = {_SPEC, _LOCK, "cells", "results"}
    return [p.name for p in folder.iterdir() if p.name not in own and not p.name.endswith(".tmp")]


def _write_spec(folder: Path, grid: Grid, threads: int) -> None:
    content = {"format": _FORMAT, **dataclasses.asdict(grid), "threads": threads}
    write_json(folder / _SPEC, content, checksum=True)


def read_sweep(folder: str | Path) -> SweepFolder:
    """Return the sweep in a folder.

    Raises:
        UsageError: The folder has none.
        CorruptedFileError: Its sweep.json is damaged.
    """
    output_dirs.read_manifest(folder, KIND)
    path = Path(folder) / _SPEC
    content = read_json(path, checksum=True)
    if content.get("format") != _FORMAT:
        raise UsageError(f"{path}: expected format {_FORMAT}, got {content.get('format')!r}")
    axes = checked(content, "axes", dict, path)
    for axis in axes:
        checked(axes, axis, list, path)
    grid = Grid(checked(content, "command", str, path), checked(content, "settings", dict, path), axes)
    return SweepFolder(folder, grid, checked(content, "threads", int, path, 1))


def _check_same(folder: Path, found: SweepFolder, grid: Grid, threads: int | None) -> None:
    """Raise UsageError unless a sweep has the same command, settings and names of axes, and as many threads."""
    before = found.grid
    pairs: list[tuple[str, Any, Any]] = [
        ("command", before.command, grid.command),
        ("axes", list(before.axes), list(grid.axes)),
    ]
    pairs += [
        (key, before.settings.get(key), grid.settings.get(key))
        for key in dict.fromkeys([*before.settings, *grid.settings])
    ]
    pairs += [("cpus_per_cell", found.threads, found.threads if threads is None else threads)]
    for name, old, new in pairs:
        if old != new:
            raise UsageError(
                f"{folder} has a sweep with {name} {old!r}, got {new!r}; give another --out, or the same settings"
            )
