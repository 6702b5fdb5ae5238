"""Parts of a benchmark, such as one seed: each is measured once, by worker processes or Ray, and is whole or missing.

A part is a function of the module of a benchmark that gets the options of the command line and arguments of its own,
writes its results, and returns at once if they exist. After any end the same command therefore goes on.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.cells import Cell
from robossl.cells.engine import run_jobs
from robossl.cells.work import ENGINES, Resources, Run, Work
from robossl.core.errors import OperationError, UsageError
from robossl.core.folder_lock import FolderLock
from robossl.core.io import read_json, write_json

RUNNER = "benchmarks.parts:part_runner"
SETTINGS = "settings"  # start of the name of the file with the options of the results in a folder
_LOCK = "benchmark.lock"
_REFUSAL = "another process measures in {folder} ({owner}); wait for it, or give another --out"
_ANYWHERE = ("out", "workers", "engine", "markdown", "report")  # options that change no result
_RETRIES = 2  # of a part whose worker process died


@dataclass(frozen=True)
class Part:
    """One function call of a benchmark.

    Attributes:
        function: Name of a function of the module of the benchmark.
        arguments: Its arguments after the options; JSON values.
        needs: Names of the parts that must be done before.
        cost: Rough cost [s]; the longest parts run first.
    """

    function: str
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()
    cost: float = 1.0

    @property
    def name(self) -> str:
        """The function with its arguments."""
        return " ".join(map(str, (self.function, *self.arguments)))

    def to_json(self) -> dict[str, Any]:
        """Return the call as JSON values, for a worker process."""
        return {"function": self.function, "arguments": list(self.arguments)}


def add_engine_flags(parser: ArgumentParser) -> None:
    """Add `--workers` and `--engine`."""
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="parts at the same time; 0: as many as fit (1)"
    )
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="of the workers (local)")


def run_parts(
    module: str,
    parts: Sequence[Part],
    options: Namespace,
    folder: Path,
    more_later: Sequence[str] = (),
    threads: int = 1,
    key: str = "",
) -> None:
    """Run the parts of a benchmark, each after those that it needs.

    Args:
        module: The module of the benchmark.
        parts: The parts.
        options: Options of the command line, with those of `add_engine_flags`.
        folder: Folder of the results.
        more_later: Options that may differ when the benchmark goes on, as they only add parts.
        threads: CPU threads of each worker.
        key: Results with different keys may have different options in one folder.

    Raises:
        UsageError: The folder has results of other options, or another process measures there.
        OperationError: Parts failed; the others are measured.
    """
    resources = Resources(options.engine, options.workers, threads)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    failed: list[str] = []

    def finished(part: Part, error: str | None, by_need: bool) -> None:
        if error is not None:
            failed.append(f"{part.name}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)

    with FolderLock(folder, _LOCK, _REFUSAL):
        _check_settings(folder / f"{SETTINGS}{key}.json", options, (*_ANYWHERE, *more_later))
        settings = {
            "module": module, "threads": threads, "working_folder": os.getcwd(), **_to_json(options)
        }  # fmt: skip
        run_jobs(
            parts, Work(RUNNER, settings), resources, finished, lambda: part_runner(settings), _RETRIES
        )  # fmt: skip
    if failed:
        raise OperationError(
            f"{len(failed)} of {len(parts)} parts failed, first {failed[0]}; the others are in {folder}"
        )


def part_runner(settings: dict[str, Any]) -> Run:
    """Return what runs parts.

    Args:
        settings: The module, the CPU threads, the working folder of relative paths, and the options of the command
            line.
    """
    os.chdir(settings["working_folder"])
    torch.set_num_threads(settings["threads"])
    module = importlib.import_module(settings["module"])
    options = Namespace(**settings["options"])
    for name in settings["paths"]:
        value = getattr(options, name)
        setattr(options, name, [Path(part) for part in value] if isinstance(value, list) else Path(value))

    def run(job: dict[str, Any]) -> dict[str, Any]:
        getattr(module, job["function"])(options, *job["arguments"])
        return {}

    return run


def _to_json(options: Namespace) -> dict[str, Any]:
    """Return options as JSON values, with the names of those that are paths or lists of paths."""
    values, paths = dict(vars(options)), []
    for name, value in values.items():
        if isinstance(value, Path):
            values[name] = str(value.resolve())
        elif isinstance(value, list) and value and all(isinstance(part, Path) for part in value):
            values[name] = [str(part.resolve()) for part in value]
        else:
            continue
        paths.append(name)
    return {"options": values, "paths": paths}


def _check_settings(path: Path, options: Namespace, but: Sequence[str]) -> None:
    """Write the options of a new folder into a file; raise UsageError if it has other options."""
    values = {k: v for k, v in _to_json(options)["options"].items() if k not in but}
    values = json.loads(json.dumps(values))
    if not path.is_file():
        write_json(path, values, checksum=True)
        return
    before = read_json(path, checksum=True)
    for name in sorted({*values, *before}):
        if values.get(name) != before.get(name):
            raise UsageError(
                f"{path.parent} has results of {name} {before.get(name)!r}, got {values.get(name)!r}; give another "
                "--out"
            )


def make_once(folder: Path, make: Callable[[Path], Any]) -> Path:
    """Return a folder; if it does not exist, `make` writes it under another name, so that it is whole or missing."""
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        make(unfinished)
        unfinished.rename(folder)
    return folder


def folder_beside(file: Path | None) -> Any:
    """Return a context with the folder of the parts of a benchmark that writes one file; without it a temporary one."""
    return TemporaryDirectory() if file is None else nullcontext(file.with_name(f"{file.name}.parts"))


def result_of(folder: Path, name: str, measure: Callable[[], Cell] | None = None) -> Cell:
    """Return the result in `folder/results/name.json`; `measure` returns it if it is not there yet."""
    path = folder / "results" / f"{name}.json"
    if measure is not None and not path.is_file():
        write_json(path, measure())
    return read_json(path)
