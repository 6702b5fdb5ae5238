"""Crash points: a process may die before any file operation of a run, and the run still goes on.

The folder is copied before every creation, rename and removal of a file and every fsync. A copy is what a process
leaves that is killed at this moment.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from resume_helpers import outcome, tiny

from robossl.core import io
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Stream, validate_stream
from robossl.streams.storage import store
from robossl.training import collect_loop, opening, output_dirs, phases
from robossl.training.collection import collect_stream
from robossl.training.continuation import resume_collection
from robossl.training.experiment import Experiment
from robossl.training.requests import CollectRequest
from robossl.training.state import PHASES

_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_hooks: list[Callable[[Any], None]] = []  # called before each file operation; audit hooks cannot be removed


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _hooks:
        return
    opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if opens or event in _EVENTS:
        _hooks[-1](arguments[0])


sys.addaudithook(_audit)


@contextmanager
def snapshots(folder: Path, copies: Path) -> Iterator[list[Path]]:
    """Copy `folder` before every file operation in it; the list gets the copies, without repetitions."""
    found: list[Path] = []
    states: set[tuple[Any, ...]] = set()

    def copy(path: Any) -> None:
        if not isinstance(path, int) and not str(path).startswith(str(folder)):
            return
        hook = _hooks.pop()
        try:
            files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
            state = tuple((str(p), p.stat().st_ino, p.stat().st_size) for p in files)
            if folder.is_dir() and state not in states:
                states.add(state)
                target = copies / f"{len(found):04d}" / folder.name
                shutil.copytree(folder, target)
                found.append(target)
        finally:
            _hooks.append(hook)

    fsync = os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (copy(descriptor), fsync(descriptor))[1])
        _hooks.append(copy)
        try:
            yield found
        finally:
            _hooks.pop()


@pytest.mark.slow
def test_run_killed_at_any_file_operation_goes_on(tmp_path, monkeypatch):
    config = tiny(agent__rows=(), agent__num_iterations=1, steps=1200, pretrain__updates=8, goals__trials=0)
    whole, runs = tmp_path / "whole", {}
    monkeypatch.setattr(collect_loop, "CHECKPOINT_INTERVAL", 0.05)
    with snapshots(whole, tmp_path / "copies") as copies:
        phases.learn(config, whole, progress=NullProgress())
    assert len(copies) > 60
    monkeypatch.setattr(io, "_is_running", lambda process: False)  # the temporary files are of this process
    for copy in copies:
        names = {path.name for path in copy.iterdir()}
        if "manifest.json" in names or {"run.lock", "config.toml"} <= names:
            run = opening.resume_run(copy, NullProgress())
            moment = (run.state.phase, run.state.iteration, "explore" in run.loaded)
            _check_streams(run)
            run.close()
            runs.setdefault(moment, copy)
        else:  # the same command starts again
            assert output_dirs.create_output_dir(copy, "unused") == copy
            if names:
                output_dirs.lock_new(copy).release()
                assert {p.name for p in copy.iterdir()} == {"run.lock"}
        assert not [p for p in copy.rglob("*.tmp") if "checkpoints" in p.parts]
    assert {phase for phase, _, _ in runs} == set(PHASES)
    explored = next(copy for (_, _, explores), copy in runs.items() if explores)
    phases.learn(resume=explored, progress=NullProgress())
    assert outcome(explored) == outcome(whole)


def _check_streams(run: Experiment) -> None:
    """Check that a resumed run has all rows that its checkpoint counts."""
    offsets = dict(run.state.stream_offsets)
    if (tree := run.loaded.get("explore")) is not None:
        offsets["stream"] = tree["stream"]
    for name, offset in offsets.items():
        stream = Stream.open(run.folder / name)
        stream.truncate(offset)
        assert stream.lengths.tolist() == list(offset["rows"])
        stream.close()
        assert validate_stream(run.folder / name)["ok"]


@pytest.mark.slow
def test_recording_killed_at_any_file_operation_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(collect_loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(collect_loop, "_SHARE", 1e9)
    monkeypatch.setattr(store, "COMMIT_ROWS", 16)
    request = CollectRequest(
        "robossl/CartPoleSwingUp-v0", steps=32, out=tmp_path / "s", num_envs=4, threads=1
    )
    collect_stream(request, NullProgress())
    whole = _chunks(tmp_path / "s")
    shutil.rmtree(tmp_path / "s")
    with snapshots(tmp_path / "s", tmp_path / "copies") as copies:
        collect_stream(request, NullProgress())
    assert len(copies) > 40
    for copy in copies:
        if not (copy / "manifest.json").exists():
            assert output_dirs.create_output_dir(copy, "unused") == copy
            continue
        assert validate_stream(copy)["ok"]
        resume_collection(copy, NullProgress())
        assert _chunks(copy) == whole


def _chunks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("chunk-*"))}


def test_other_files_in_a_folder_are_never_removed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.lock").touch()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        output_dirs.create_output_dir(folder, "unused")
    assert (folder / "notes.txt").read_text() == "mine"
