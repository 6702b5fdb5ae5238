"""A study keeps finished cells whole, refuses what is of another protocol, and has one process at a time."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.study.protocol import load_protocol, override
from robossl.study.study_folder import (
    Cell,
    Selection,
    Study,
    StudySpec,
    is_disk_full,
    locked,
    open_study,
    read_spec,
)

PROTOCOL = load_protocol()
TASKS = ("robossl/CartPoleSwingUp-v0", "robossl/CartPoleBalance-v0")
CELL = Cell("observation", TASKS[0], 0, 1)


def make_spec(**sizes: int) -> StudySpec:
    return StudySpec.make(
        PROTOCOL, "cartpole", "quick", TASKS[0], 0, override(PROTOCOL.budget("quick").sizes, sizes)
    )


def make_selection(*rows: str, seeds: tuple[int, ...] = (0,)) -> Selection:
    return Selection(rows or ("observation",), TASKS, seeds, (0, 1))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return open_study(tmp_path, make_spec(), make_selection())


def test_written_result_is_read_back(study: Study) -> None:
    result = {"returns": [0.1, 1e-300], "success": None, "seconds": 1.0}
    study.write_result(CELL, result)
    assert study.result(CELL) == {"protocol": study.spec.protocol, **CELL.key(), **result}
    assert study.result(Cell("observation", TASKS[1], 0, 1)) is None


def test_damaged_result_is_named(study: Study) -> None:
    study.write_result(CELL, {"returns": [1.0]})
    path = study.cell_path(CELL)
    path.write_bytes(path.read_bytes().replace(b"1.0", b"2.0"))
    with pytest.raises(
        CorruptedFileError, match=f"{path.name} is damaged.*; remove it, and the same command"
    ):
        study.result(CELL)


def test_result_of_another_protocol_is_refused(study: Study, tmp_path: Path) -> None:
    other = Study(tmp_path, make_spec(hidden=8), study.selection)
    other.write_result(CELL, {"returns": [1.0]})
    with pytest.raises(UsageError, match=study.spec.protocol):
        study.result(CELL)


def test_cells_have_different_files() -> None:
    cells = {
        Cell(row, task, stream_seed, agent_seed).id
        for row in ("observation", "observation_online")
        for task in (*TASKS, "a/A-v0", "b/A-v0", "a/A-v1")
        for stream_seed in (0, 1, 10)
        for agent_seed in (0, 1)
    }
    assert len(cells) == 2 * 5 * 3 * 2


def test_group_is_unpacked_once_wherever_it_was_stopped(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between two cells of a group leaves the group; the next one finishes it."""
    cells = [Cell("observation", task, 0, seed) for task in TASKS for seed in (0, 1)]
    whole = Study.write_result
    results = {cell: {"returns": [float(index)]} for index, cell in enumerate(cells)}
    for written in range(len(cells)):
        for path in (study.folder / "cells").glob("*"):
            path.unlink()
        count = 0

        def stops(self: Study, cell: Cell, result: dict, limit: int = written) -> None:
            nonlocal count
            if count == limit:
                raise KeyboardInterrupt
            count += 1
            whole(self, cell, result)

        with monkeypatch.context() as patch:
            patch.setattr(Study, "write_result", stops)
            with pytest.raises(KeyboardInterrupt):
                study.write_group("group", results)
        kept = {cell: study.cell_path(cell).read_bytes() for cell in cells[:written]}
        study.clean()
        assert all(study.cell_path(cell).read_bytes() == content for cell, content in kept.items())
        assert [study.result(cell)["returns"] for cell in cells] == [r["returns"] for r in results.values()]  # type: ignore[index]
        assert not list((study.folder / "groups").iterdir())


def test_cleaning_removes_temporary_files_alone(study: Study) -> None:
    study.write_result(CELL, {"returns": [1.0]})
    (study.folder / "streams" / ".0.abc.part" / "0").mkdir(parents=True)
    (study.folder / "models" / "0-world_model").mkdir(parents=True)
    (study.folder / "cells" / ".x.json.1.ab.tmp").touch()
    (study.folder / "work" / "tmp1").mkdir(parents=True)
    before = read_spec(study.folder)
    study.clean()
    assert read_spec(study.folder) == before
    names = {path.relative_to(study.folder).as_posix() for path in study.folder.rglob("*")}
    assert not any(".part" in name or ".tmp" in name or "work" in name for name in names)
    assert {"models/0-world_model", f"cells/{CELL.id}.json"} <= names


def test_study_is_read_back(study: Study) -> None:
    assert read_spec(study.folder) == (study.spec, study.selection)


def test_opening_again_adds_rows_and_seeds(study: Study) -> None:
    more = open_study(study.folder, study.spec, make_selection("latent", seeds=(3,)))
    assert more.selection.rows == ("observation", "latent")
    assert more.selection.stream_seeds == (0, 3)
    assert read_spec(study.folder) == (study.spec, more.selection)


@pytest.mark.parametrize("size", ["hidden", "stream_steps"])
def test_study_of_another_protocol_is_refused_and_kept(study: Study, size: str) -> None:
    content = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=rf"another --out|{size} was"):
        open_study(study.folder, make_spec(**{size: 7}), study.selection)
    assert {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()} == content


def test_folder_with_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"), locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_refused_request_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError), locked(tmp_path / "a" / "b"):
        raise UsageError("expected something else")
    assert not (tmp_path / "a").exists()


def test_second_process_is_refused(tmp_path: Path) -> None:
    lines = (
        "import pathlib, sys",
        "from robossl.study.study_folder import locked",
        "locked(pathlib.Path(sys.argv[1])).__enter__()",
    )
    code = "\n".join(lines)
    open_study(tmp_path, make_spec(), make_selection())
    with locked(tmp_path):
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert "another process works on the study" in second.stderr
    with locked(tmp_path):  # free again
        pass


def test_full_disk_is_recognized_through_other_errors() -> None:
    error = OperationError("cannot write x")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert not is_disk_full(OperationError("cannot write x"))
    assert not is_disk_full(FileNotFoundError(errno.ENOENT, "no file"))
