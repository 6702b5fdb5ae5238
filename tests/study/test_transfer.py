"""A study ends with the same results wherever it was stopped, and repeats nothing that is finished."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import toy_tasks

import robossl
from robossl.cells import processes
from robossl.cells.processes import WorkerProcess
from robossl.core.errors import OperationError, UsageError
from robossl.core.io import write_json
from robossl.core.small_files import read_json
from robossl.study import cell_work
from robossl.study.execution import JobRunner
from robossl.study.study_folder import Study
from robossl.training.collection import collect_stream
from robossl.training.continuation import append_episodes

toy_tasks.register()
SIZES = {
    "stream_steps": 1024, "model_updates": 2, "offline_updates": 4, "online_steps": 24, "episodes": 2, "hidden": 8,
    "batch_size": 8, "goal_trials": 0,
}  # fmt: skip
TASKS = ("toy/Right-v0", "toy/Left-v0")
ROWS = ("random", "observation", "latent", "observation_online", "planner", "reference")


def run(out: Path, rows=ROWS, tasks=TASKS, **settings: Any) -> dict[str, Any]:
    return robossl.transfer(tasks=tasks, rows=rows, out=out, **{"agent_seeds": 1, **SIZES, **settings})


def results(folder: Path) -> dict[str, Any]:
    """Return the cells by file name, without the seconds and the checksum that depends on them."""
    return {
        path.name: {**read_json(path), "seconds": 0} for path in sorted((folder / "cells").glob("*.json"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study."""
    folder = tmp_path_factory.mktemp("studies") / "finished"
    run(folder)
    return folder


def copy_of(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "study"))


def test_finished_study_has_all_cells_tables_and_report(finished: Path) -> None:
    report = read_json(finished / "report.json")
    assert list(report["transfer"]["rows"]) == ["random", "observation", "latent", "observation_online"]
    assert "goals" in report["missing"]["transfer.rows.planner"]
    assert len(results(finished)) == 4 * 2
    assert report["transfer"]["cells"] == {"done": 8, "failed": 0}
    assert {path.suffix for path in (finished / "tables").iterdir()} == {".md", ".tex", ".csv"}
    assert (finished / "report.html").is_file()
    assert not (finished / "work").exists() or not list((finished / "work").iterdir())


def test_each_policy_records_an_equal_part_of_the_stream(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("robossl.study.preparation.collect_stream", recorded := Recorded(collect_stream))
    monkeypatch.setattr("robossl.study.preparation.append_episodes", appended := Recorded(append_episodes))
    report = run(tmp_path / "study", rows=["observation"], policies=["random", "zero"], workers=1)
    assert tuple(report["transfer"]["steps"]["policies"]) == ("random", "zero")
    assert {(call[0].policy, call[0].steps) for call in recorded.calls} == {("random", 512)}
    assert {(call[4], call[2]) for call in appended.calls} == {("zero", 512)}


class Recorded:
    """A function that keeps the arguments of its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.function(*args)


def test_task_without_reference_is_measured_by_the_best_row(finished: Path) -> None:
    data = read_json(finished / "report.json")["transfer"]
    for task in TASKS:
        means = {row: values["tasks"][task]["return"]["mean"] for row, values in data["rows"].items()}
        best = max(means, key=lambda row: means[row])
        assert data["references"][task] == pytest.approx(
            {"random": means["random"], "reference": means[best]}
        )
        assert best in data["steps"][f"reference of {task}"]


def test_cells_count_labeled_and_all_steps(finished: Path) -> None:
    cells = {name.split("-")[0]: cell for name, cell in results(finished).items()}
    assert (cells["random"]["labeled_steps"], cells["random"]["all_steps"]) == (0, 0)
    assert cells["observation"]["labeled_steps"] == cells["observation"]["all_steps"] == SIZES["stream_steps"]
    assert cells["observation_online"]["all_steps"] == SIZES["online_steps"]
    by_task = {cell["task"]: cell for name, cell in results(finished).items() if name.startswith("latent-")}
    assert by_task["toy/Right-v0"]["all_steps"] == SIZES["stream_steps"]  # its stream is the reward-free one
    assert by_task["toy/Left-v0"]["all_steps"] == 2 * SIZES["stream_steps"]  # labeled in a stream of its own


def test_last_point_of_a_curve_is_the_result(finished: Path) -> None:
    for cell in results(finished).values():
        assert len(cell["returns"]) == SIZES["episodes"]
        if cell["curve"]:
            assert cell["curve"][-1]["returns"] == cell["returns"]
            assert cell["curve"][-1]["labeled_steps"] == cell["labeled_steps"]


def test_same_command_again_runs_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*.json") if path.parent.name == "cells"
    }
    monkeypatch.setattr(JobRunner, "run", lambda *args: pytest.fail("a job ran"))
    report = run(finished)
    assert robossl.transfer(resume=finished)["transfer"] == report["transfer"]
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("after", [1, 4, 6])
def test_stopped_study_ends_as_an_uninterrupted_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    count, whole = 0, JobRunner.run

    def stops(self: JobRunner, job: Any) -> str | None:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return whole(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(JobRunner, "run", stops)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            run(tmp_path / "study")
    partial = read_json(tmp_path / "study" / "report.json")
    assert partial["transfer"]["cells"]["done"] == len(results(tmp_path / "study"))
    assert "transfer.cells" in partial["missing"]
    robossl.transfer(resume=tmp_path / "study")
    assert results(tmp_path / "study") == results(finished)


def test_full_disk_ends_the_study_in_one_line_and_loses_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = copy_of(finished, tmp_path), Study.write_result
    removed = [
        path for path in (folder / "cells").iterdir() if path.name.startswith(("latent", "observation-"))
    ]
    for path in removed:
        path.unlink()

    def full(self: Study, cell: Any, result: Any) -> None:
        if cell.row == "observation" or "error" in result:
            raise OperationError("cannot write it") from OSError(errno.ENOSPC, "No space left on device")
        whole(self, cell, result)

    with monkeypatch.context() as patch:
        patch.setattr(Study, "write_result", full)
        with pytest.raises(OperationError, match=r"cannot write it.*--resume"):
            robossl.transfer(resume=folder)
    assert not any("error" in cell for cell in results(folder).values())
    robossl.transfer(resume=folder)
    assert results(folder) == results(finished)


def test_failed_cells_are_named_and_counted_and_run_again_on_demand(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(finished, tmp_path)
    for path in (folder / "cells").glob("observation-*"):
        path.unlink()

    def breaks(*args: Any) -> None:
        raise RuntimeError("the motor\nis broken")

    with monkeypatch.context() as patch:
        patch.setattr(cell_work.CellWork, "_learn_offline", breaks)
        report = robossl.transfer(resume=folder)["transfer"]
    assert report["cells"]["failed"] == 2
    assert {(entry["row"], entry["error"]) for entry in report["failed"]} == {
        ("observation", "RuntimeError: the motor is broken")
    }
    assert robossl.transfer(resume=folder)["transfer"]["cells"]["failed"] == 2
    assert robossl.transfer(resume=folder, retry_failed=True)["transfer"]["cells"]["failed"] == 0
    assert results(folder) == results(finished)


def test_task_that_raises_fails_its_cells_alone(tmp_path: Path) -> None:
    report = run(tmp_path, ("random", "observation_online"), ("toy/Right-v0", "toy/Broken-v0"))["transfer"]
    assert {entry["task"] for entry in report["failed"]} == {"toy/Broken-v0"}
    assert report["cells"] == {"done": 2, "failed": 2}


def test_more_rows_and_tasks_extend_a_study(finished: Path, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    report = run(folder, rows=["zero_action"])["transfer"]
    assert list(report["rows"]) == ["random", "observation", "latent", "observation_online", "zero_action"]


@pytest.mark.parametrize("rows", [["planner"], ["reference"], ["planner", "oracle_dynamics", "reference"]])
def test_study_without_a_possible_row_is_refused_and_leaves_no_folder(
    tmp_path: Path, rows: list[str]
) -> None:
    with pytest.raises(UsageError, match="a row that the tasks can have"):
        run(tmp_path / "study", rows=rows)
    assert not (tmp_path / "study").exists()


def test_rows_whose_agents_do_not_support_the_actions_are_missing_instead_of_failed(tmp_path: Path) -> None:
    rows = ["observation", "mpc", "imagination_sac"]
    with pytest.raises(UsageError, match=r"observation: offline-td3 needs Box.*; mpc: .*; imagination_sac: "):
        run(tmp_path / "study", rows=rows, tasks=("CartPole-v0", "CartPole-v1"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": ["latents"]}, ["latents", "latent"]),
        ({"rows": []}, ["one or more rows"]),
        ({"budget": "quik"}, ["quick"]),
        ({"seeds": [-1]}, ["-1"]),
        ({"seeds": []}, ["one or more"]),
        ({"policies": ["colored_nois"]}, ["did you mean 'colored_noise'"]),
        ({"policies": "random"}, ["names of exploration policies"]),
        ({"policies": ["random", "random"]}, ["different names"]),
        ({"policies": ["random"]}, ["another --out", "policies"]),
        ({"workers": -1}, ["workers"]),
        ({"hiden": 3}, ["hidden"]),
        ({"hidden": 9}, ["another --out", "hidden was 8, is 9"]),
        ({"tasks": ["toy/Left-v0", "toy/Right-v0"]}, ["another --out", "is toy/Left-v0 and"]),
        ({"tasks": ["toy/Right-v0", "toy/Wide-v0"]}, ["same spaces"]),
        ({"robot": "hand", "tasks": None}, ["hand"]),
        ({"resume": "nothing"}, ["resume"]),
    ],
)
def test_wrong_requests_raise_one_line_and_change_nothing(
    finished: Path, settings: dict, words: list[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*.json")}
    with pytest.raises(UsageError) as error:
        run(finished, **settings)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value
    assert {path: path.read_bytes() for path in finished.rglob("*.json")} == before


def test_package_named_in_a_study_is_not_imported(finished: Path, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    content = read_json(folder / "protocol.json", checksum=True)
    content["selection"]["tasks"][1] = "evil_package:toy/Left-v0"
    write_json(folder / "protocol.json", content, checksum=True)
    with pytest.raises(UsageError, match="--trust-env"):
        robossl.transfer(resume=folder)


@pytest.mark.slow
def test_study_killed_at_any_moment_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """SIGKILL of the command with two workers, at several moments; the workers end with it."""
    flags = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = [
        sys.executable, "-c", "from robossl.cli.main import main; main()", "transfer",
        "--tasks", "toy_tasks:toy/Right-v0,toy_tasks:toy/Left-v0", "--rows", ",".join(ROWS), "--agent-seeds", "1",
        "--workers", "2", *flags,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}

    def start(out: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / "log.txt", "ab") as log:
            return subprocess.Popen(
                [*command, "--out", out], cwd=tmp_path, env=environment, stdout=log, stderr=log
            )

    process = start("whole")
    assert process.wait(300) == 0, (tmp_path / "log.txt").read_text()
    for moment in range(4):
        process = start("killed")
        folder, limit = tmp_path / "killed" / "cells", time.monotonic() + 120
        while (
            len(list(folder.glob("*.json"))) <= 2 * moment
            and process.poll() is None
            and time.monotonic() < limit
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start("killed")
    assert process.wait(300) == 0, (tmp_path / "log.txt").read_text()
    names = {name: cell | {"seconds": 0} for name, cell in results(tmp_path / "whole").items()}
    assert results(tmp_path / "killed") == names
    reports = [
        json.loads((tmp_path / name / "report.json").read_text())["transfer"] for name in ("whole", "killed")
    ]
    assert reports[0] == reports[1]


def test_worker_that_dies_fails_its_cells_alone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of the first job is killed; a new one takes its place."""
    folder = copy_of(finished, tmp_path)
    for path in (folder / "cells").glob("random-*"):
        path.unlink()
    sent, whole = [], WorkerProcess.send

    def send(self: Any, job: Any) -> None:
        sent.append("target" not in job)
        if sum(sent) == 1:
            self._process.kill()
        whole(self, job)

    monkeypatch.setattr(WorkerProcess, "send", send)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(
        processes, "WORKER", ("-c", "import toy_tasks; from robossl.cells.cell_worker import main; main()")
    )
    report = robossl.transfer(resume=folder, workers=2)["transfer"]
    assert [entry["error"] for entry in report["failed"]] == ["the worker process was ended by signal 9"]
    assert report["cells"] == {"done": 7, "failed": 1}
