"""The folder of a study: its protocol and selection, its results, and a lock against a second process."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.folder_lock import FolderLock
from robossl.core.io import write_json
from robossl.core.small_files import checked, checked_ints, read_json, read_result
from robossl.evaluation.report.study_tables import task_name
from robossl.study.protocol import Protocol, Sizes
from robossl.training import output_dirs

KIND = "study"
_SPEC, _LOCK = "protocol.json", "study.lock"
_REFUSAL = "another process works on the study {folder} ({owner}); wait for it, or give another --out"
_BEGUN = (_LOCK, _SPEC, "config.toml")  # files of a study whose manifest is not written yet
_FORMAT = 1  # of protocol.json


@dataclass(frozen=True, order=True)
class Cell:
    """A row on a task, with the seed of the stream and the seed of the agent."""

    row: str
    task: str  # env id
    stream_seed: int
    agent_seed: int

    @property
    def id(self) -> str:
        """Name of its file."""
        return f"{self.row}-{task_slug(self.task)}-{self.stream_seed}-{self.agent_seed}"

    def key(self) -> dict[str, Any]:
        """Return its entries in a result."""
        return dataclasses.asdict(self)


def task_slug(task: str) -> str:
    """Return the name of a task in file names: its short name, or all of an id of another package."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", task_name(task))


@dataclass(frozen=True)
class Selection:
    """The cells of a study."""

    rows: tuple[str, ...]
    tasks: tuple[str, ...]
    stream_seeds: tuple[int, ...]
    agent_seeds: tuple[int, ...]

    def has(self, cell: Cell) -> bool:
        """Return whether a cell belongs to the selection; a row without agent has agent seed 0."""
        seeds = (*self.agent_seeds, 0)
        known = cell.row in self.rows and cell.task in self.tasks
        return known and cell.stream_seed in self.stream_seeds and cell.agent_seed in seeds

    def union(self, other: Selection) -> Selection:
        """Return all rows, tasks and seeds of both, those of this selection first."""
        parts = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        rows, tasks, *seeds = (tuple(dict.fromkeys((*own, *more))) for own, more in parts)
        return Selection(rows, tasks, *(tuple(sorted(each)) for each in seeds))


@dataclass(frozen=True)
class StudySpec:
    """What a study is: all that its protocol hash covers, and names for the report."""

    protocol: str  # hash
    robot: str
    budget: str
    stream_task: str
    pixels: int
    sizes: Sizes

    @classmethod
    def make(
        cls, protocol: Protocol, robot: str, budget: str, stream_task: str, pixels: int, sizes: Sizes
    ) -> StudySpec:
        """Return the spec with its hash."""
        return cls(protocol.hash(sizes, stream_task, pixels), robot, budget, stream_task, pixels, sizes)


class Study:
    """An open study."""

    def __init__(self, folder: str | Path, spec: StudySpec, selection: Selection) -> None:
        self.folder, self.spec, self.selection = Path(folder), spec, selection

    # --- cells

    def cell_path(self, cell: Cell) -> Path:
        """Return the file of a result."""
        return self.folder / "cells" / f"{cell.id}.json"

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a cell, None if it is not finished.

        Raises:
            UsageError: The result belongs to another protocol or cell.
            CorruptedFileError: The file is damaged.
        """
        path = self.cell_path(cell)
        if not path.is_file():
            return None
        result = read_result(path)
        if result.get("protocol") != self.spec.protocol:
            got = result.get("protocol")
            raise UsageError(f"{path}: expected a result of protocol {self.spec.protocol}, got {got}")
        if {name: result.get(name) for name in cell.key()} != cell.key():
            raise UsageError(
                f"{path}: expected the result of {cell}, got another one; two tasks share the file"
            )
        return result

    def write_result(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Write the result of a cell at once."""
        path = self.cell_path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"protocol": self.spec.protocol, **cell.key(), **result}, checksum=True)

    # --- results of several cells that trained together

    def write_group(self, name: str, results: Mapping[Cell, Mapping[str, Any]]) -> None:
        """Write the results of a group in one step, then those of each cell."""
        path = self.folder / "groups" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{**cell.key(), "result": dict(result)} for cell, result in results.items()]
        write_json(path, {"protocol": self.spec.protocol, "cells": entries}, checksum=True)
        self._unpack(path)

    def _unpack(self, path: Path) -> None:
        """Write the cells of a group that have no result yet, and remove the file of the group."""
        content = read_result(path)
        for entry in content["cells"] if content.get("protocol") == self.spec.protocol else ():
            cell = Cell(**{name: entry[name] for name in ("row", "task", "stream_seed", "agent_seed")})
            before = self.result(cell)
            if before is None or "error" in before:
                self.write_result(cell, entry["result"])
        path.unlink()

    def clean(self) -> None:
        """Finish what a killed process left: unpack groups, remove temporary files and folders."""
        for folder in (
            self.folder,
            *(self.folder / name for name in ("streams", "models", "cells", "groups", "goals")),
        ):
            for path in folder.glob(".*") if folder.is_dir() else ():
                if path.name.endswith(".part") and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name.endswith(".tmp"):
                    path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        for path in sorted((self.folder / "groups").glob("*.json")):
            self._unpack(path)


# --- opening


def read_spec(folder: str | Path) -> tuple[StudySpec, Selection]:
    """Return what the study in a folder is.

    Raises:
        UsageError: The folder has no study.
        CorruptedFileError: Its protocol.json is damaged.
    """
    output_dirs.read_manifest(folder, KIND)
    path = Path(folder) / _SPEC
    content = read_json(path, checksum=True)
    if content.get("format") != _FORMAT:
        raise UsageError(
            f"{path}: expected format {_FORMAT}, got {content.get('format')!r}; start a new study"
        )
    sizes, selection = checked(content, "sizes", dict, path), checked(content, "selection", dict, path)
    names = {entry.name for entry in dataclasses.fields(Sizes)}
    if set(sizes) != names:
        raise CorruptedFileError(f"{path} is damaged: expected the sizes {', '.join(sorted(names))}")
    texts = {
        name: checked(content, name, str, path) for name in ("protocol", "robot", "budget", "stream_task")
    }
    horizons = tuple(checked_ints(sizes, "goal_horizons", path))
    policies = tuple(map(str, checked(sizes, "policies", list, path)))
    spec = StudySpec(
        **texts,
        pixels=checked(content, "pixels", int, path, 0),
        sizes=Sizes(**{**sizes, "goal_horizons": horizons, "policies": policies}),
    )
    rows, tasks = (tuple(map(str, checked(selection, name, list, path))) for name in ("rows", "tasks"))
    seeds = (tuple(checked_ints(selection, name, path)) for name in ("stream_seeds", "agent_seeds"))
    return spec, Selection(rows, tasks, *seeds)


def open_study(folder: Path, spec: StudySpec, selection: Selection) -> Study:
    """Create a study in an empty or missing folder, or open the one of the same protocol in it.

    A study that has further rows, tasks or seeds keeps them.

    Raises:
        UsageError: The folder has a study of another protocol.
    """
    if is_study(folder):
        found, before = read_spec(folder)
        if found.protocol != spec.protocol:
            raise UsageError(
                f"{folder}: expected a study of protocol {spec.protocol}, got protocol {found.protocol} of "
                f"{found.robot}, budget {found.budget}{_difference(found, spec)}; give another --out"
            )
        spec, selection = found, before.union(selection)
        if selection == before:
            return Study(folder, spec, selection)
    content = {"format": _FORMAT, **dataclasses.asdict(spec), "selection": dataclasses.asdict(selection)}
    write_json(folder / _SPEC, content, checksum=True)
    if not is_study(folder):
        sizes = dataclasses.asdict(spec.sizes)
        settings = {"robot": spec.robot, "budget": spec.budget, "pixels": spec.pixels, "sizes": sizes}
        output_dirs.write_manifest(folder, KIND, settings, env=spec.stream_task, protocol=spec.protocol)
    return Study(folder, spec, selection)


def is_study(folder: Path) -> bool:
    """Return whether a folder has a manifest; it is written last."""
    return (folder / output_dirs.MANIFEST).is_file()


def _difference(found: StudySpec, expected: StudySpec) -> str:
    """Return the first setting in which two specs differ, for a message."""
    for name in ("robot", "stream_task", "pixels"):
        old, new = getattr(found, name), getattr(expected, name)
        if old != new:
            return f" ({name} was {old}, is {new})"
    for entry in dataclasses.fields(Sizes):
        old, new = getattr(found.sizes, entry.name), getattr(expected.sizes, entry.name)
        if old != new:
            return f" ({entry.name} was {old}, is {new})"
    return " (the protocol of this version of robossl is another one)"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a study, whose folder is created; it is free again when the process ends, however it ends.

    A UsageError inside the block removes a folder in which no study was started.

    Raises:
        UsageError: Another process works on the study, or the folder has something else or cannot be written.
    """
    if folder.exists() and not is_study(folder):
        others = (
            sorted(p.name for p in folder.iterdir() if p.name not in _BEGUN)
            if folder.is_dir()
            else ["a file"]
        )
        if others:
            raise UsageError(f"{folder} exists and is no study (it has {others[0]}); give another --out")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write in the folder {folder}; choose another --out")
    with FolderLock(folder, _LOCK, _REFUSAL):
        try:
            yield
        except UsageError:
            if not is_study(folder):
                for name in _BEGUN:
                    (folder / name).unlink(missing_ok=True)
                for path in missing:
                    path.rmdir()
            raise


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, is a full or broken disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            return True
        error = error.__cause__ or error.__context__
    return False
