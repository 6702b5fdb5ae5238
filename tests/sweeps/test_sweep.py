"""Cells of a sweep: each runs once, by any engine, and ends with the same result after any interruption."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import AXES, CARTPOLE, content, results

import robossl
from robossl.core.errors import OperationError, UsageError
from robossl.core.small_files import read_json
from robossl.sweeps import sweep_folder, sweep_run
from robossl.sweeps.grid import Grid
from robossl.sweeps.sweep_folder import open_sweep, read_sweep


def test_finished_cells_are_never_run_again(
    finished: Path, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*.json") if path.parent.name == "results"
    }
    monkeypatch.setattr(sweep_run, "run_cell", lambda *args: pytest.fail("a cell ran"))
    monkeypatch.setattr(sweep_run, "run_jobs", lambda *args, **kwargs: pytest.fail("a job ran"))
    summary = robossl.sweep(content(stream), finished)
    robossl.sweep(content(stream), finished, cell=1)
    assert summary["cells"] == {"finished": 2, "failed": 0, "left": 0}
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_local_engine_gives_the_results_of_single_cells(finished: Path, stream: Path, tmp_path: Path) -> None:
    """A worker process runs what is left: the first cell is finished before."""
    robossl.sweep(content(stream), tmp_path / "sweep", cell=0)
    kept = results(tmp_path / "sweep")
    robossl.sweep(content(stream), tmp_path / "sweep", workers=1)
    assert results(tmp_path / "sweep") == results(finished)
    assert kept.items() <= results(tmp_path / "sweep").items()


OTHER_COMMANDS = {
    "learn": {
        "env": CARTPOLE, "steps": 1024, "explore": {"num_envs": 16, "fraction": 1.0}, "agent.num_iterations": 0,
        "pretrain.updates": 2, "goals": {"trials": 0, "head_updates": 0, "control": False},
        "evaluate": {"episodes": 1, "videos": False}, "world_model": {"batch_size": 8, "latent_dim": 4},
    },
    "train": {"env": CARTPOLE, "steps": 60, "num_envs": 2, "settings.learning_starts": 40},
    "evaluate": {"env": CARTPOLE, "episodes": 2, "goal_trials": 0, "videos": False},  # of a model of `finished`
    "transfer": {
        "robot": "cartpole", "rows": ["random"], "tasks": [CARTPOLE], "agent_seeds": 1, "episodes": 2,
        "stream_steps": 1024, "goal_trials": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("command", OTHER_COMMANDS)
def test_cell_can_be_of_every_command(finished: Path, tmp_path: Path, command: str) -> None:
    settings, axes = OTHER_COMMANDS[command], {"seed": [0]}
    if command == "evaluate":
        settings = {**settings, "model": str(next((finished / "cells").iterdir()))}
    elif command == "transfer":
        axes = {"seeds": [[0]]}
    sweep = {"command": command, "settings": settings, "axes": axes}
    summary = robossl.sweep(sweep, tmp_path / "sweep", cell=0)
    assert summary["cells"] == {"finished": 1, "failed": 0, "left": 0}
    measures = list(summary["groups"][0]["measures"])
    assert measures
    assert "/train/" not in measures[0]  # the table shows the first ones
    cell, kept = tmp_path / "sweep" / "cells" / summary["cell"], results(tmp_path / "sweep")
    assert (cell / "manifest.json").is_file() or (cell / "report.json").is_file()
    for path in (tmp_path / "sweep" / "results").glob("*.json"):
        path.unlink()  # the process was killed before it wrote the result
    robossl.sweep(sweep, tmp_path / "sweep", cell=0)
    assert results(tmp_path / "sweep") == kept


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_interrupted_cell_goes_on_to_the_same_result(
    finished: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """An interruption before the command, in its training, and between its end and the result."""
    from robossl.sweeps.sweep_folder import SweepFolder
    from robossl.training import pretraining
    from robossl.world_model import WorldModelTrainer

    target, name = {
        "before": (pretraining, "pretrain_world_model"),
        "within": (WorldModelTrainer, "update"),
        "after": (SweepFolder, "write_result"),
    }[moment]

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            robossl.sweep(content(stream), tmp_path / "sweep", cell=0)
    assert not results(tmp_path / "sweep")
    robossl.sweep(content(stream), tmp_path / "sweep", cell=0)
    assert results(tmp_path / "sweep").items() <= results(finished).items()


def test_more_values_of_an_axis_add_cells_and_keep_results(
    finished: Path, stream: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "sweep"))
    more = content(stream, axes={**AXES, "seed": [0, 1, 2]})
    robossl.sweep(more, folder, cell=2)
    assert results(finished).items() < results(folder).items()


def test_error_of_a_cell_is_its_result_until_it_is_tried_again(stream: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stream, tmp_path / "stream"))
    request = content(copy)
    open_sweep(tmp_path / "sweep", Grid("pretrain", request["settings"], request["axes"]), None)
    cell = read_sweep(tmp_path / "sweep").grid.cells()[0]
    read_sweep(tmp_path / "sweep").write_result(cell, error="no such thing")
    with pytest.raises(OperationError, match=r"no such thing.*--retry-failed"):
        robossl.sweep(request, tmp_path / "sweep", cell=0)
    summary = robossl.sweep(request, tmp_path / "sweep", cell=0, retry_failed=True)
    assert summary["cells"] == {"finished": 1, "failed": 0, "left": 1}


def test_reason_of_the_last_try_is_the_result(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(jobs: Any, work: Any, resources: Any, finished: Any, **settings: Any) -> None:
        for cell in jobs:
            finished(cell, reasons[-1], False)

    monkeypatch.setattr(sweep_run, "run_jobs", dies)
    reasons = []
    for reason in ("ended by signal 9", "ended by signal 11"):
        reasons.append(reason)
        summary = robossl.sweep(content(stream), tmp_path / "sweep", retry_failed=True)
        assert {failed["error"] for failed in summary["failed"]} == {reason}


def test_summary_has_medians_over_seeds(finished: Path) -> None:
    summary = read_json(finished / "summary.json", checksum=True)
    assert [group["seeds"] for group in summary["groups"]] == [[0, 1]]
    for group in summary["groups"]:
        loss = group["measures"]["world_model/loss"]
        assert loss["mean"] == pytest.approx(sum(loss["values"].values()) / 2)
        assert loss["n"] == 2
    lines = (finished / "summary.md").read_text().splitlines()
    assert lines[0] == "2 cells finished, 0 failed, 0 left."
    assert lines[2].startswith("| world_model.objectives | seeds | ")


# --- two processes


def test_sweep_that_another_job_creates_at_the_same_time_is_opened(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest appears between the look for it and the look at what else the folder has."""
    request = content(stream)
    grid, whole = Grid("pretrain", request["settings"], request["axes"]), sweep_folder._others

    def late(folder: Path) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(sweep_folder, "_others", whole)
            open_sweep(folder, grid, 2)
        return whole(folder)

    (tmp_path / "sweep").mkdir()
    monkeypatch.setattr(sweep_folder, "_others", late)
    assert open_sweep(tmp_path / "sweep", grid, None).threads == 2


def test_second_driver_of_a_sweep_is_refused(finished: Path, stream: Path) -> None:
    with read_sweep(finished).lock(), pytest.raises(UsageError, match="another process runs the sweep"):
        robossl.sweep(content(stream), finished)


def test_cell_of_another_process_is_refused(stream: Path, tmp_path: Path) -> None:
    request = content(stream)
    opened = open_sweep(tmp_path / "sweep", Grid("pretrain", request["settings"], request["axes"]), None)
    with opened.lock_cell(opened.grid.cells()[0]), pytest.raises(UsageError, match="runs this cell"):
        robossl.sweep(request, tmp_path / "sweep", cell=0)


# --- bad input


def test_folder_of_another_sweep_is_refused(finished: Path, stream: Path, tmp_path: Path) -> None:
    other = content(stream)
    other["settings"]["updates"] = 3
    with pytest.raises(UsageError, match="has a sweep with updates 2, got 3"):
        robossl.sweep(other, finished)
    with pytest.raises(UsageError, match="cpus_per_cell 1, got 2"):
        robossl.sweep(content(stream), finished, cpus_per_cell=2, cell=0)
    with pytest.raises(UsageError, match="expected a sweep folder, got a stream folder"):
        robossl.sweep(content(stream), stream)
    with pytest.raises(UsageError, match="cell: expected no engine, workers or gpus_per_cell"):
        robossl.sweep(content(stream), finished, workers=1, cell=0)
    with pytest.raises(UsageError, match="no_such_package"):
        robossl.sweep(content(stream), tmp_path / "sweep", trusted="no_such_package")
    with pytest.raises(UsageError, match="expected 0 to 1 for a sweep of 2 cells, got 2"):
        robossl.sweep(content(stream), tmp_path / "sweep", cell=2)


def test_damaged_result_is_named(finished: Path, stream: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "sweep"))
    path = next((folder / "results").glob("*.json"))
    path.write_text(path.read_text().replace("world_model/loss", "world_model/lass"))
    with pytest.raises(
        OperationError, match=rf"{re.escape(path.name)} is damaged.*; remove it, and the same command"
    ):
        robossl.sweep(content(stream), folder)
    path.unlink()
    for index in (0, 1):
        robossl.sweep(content(stream), folder, cell=index)
    assert results(folder) == results(finished)
