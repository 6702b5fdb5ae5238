"""Cells of a sweep: each runs once, by any engine, and ends with the same result after any interruption."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import robossl
from robossl.core.errors import OperationError, UsageError
from robossl.core.small_files import read_json
from robossl.sweeps import sweep_folder, sweep_run
from robossl.sweeps.grid import Grid
from robossl.sweeps.sweep_folder import open_sweep, read_sweep
from robossl.sweeps.sweep_run import SweepRequest

ROOT = Path(__file__).parents[2]
SMALL = {
    "world_model.latent_dim": 4, "world_model.batch_size": 8, "world_model.encoder_hidden": [8],
    "world_model.dynamics_hidden": [8], "updates": 2, "head_updates": 0,
}  # fmt: skip
AXES = {"seed": [0, 1], "world_model.objectives": [["forward", "inverse"]]}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "stream"
    robossl.collect("robossl/CartPoleSwingUp-v0", "random", 1024, folder, num_envs=4)
    return folder


def content(stream: Path, **changes: Any) -> dict[str, Any]:
    return {"command": "pretrain", "settings": {**SMALL, "stream": str(stream)}, "axes": AXES, **changes}


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "results").glob("*.json"))}


@pytest.fixture(scope="module")
def finished(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep whose cells ran one by one, as jobs of an array."""
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    for index in (1, 0):
        robossl.sweep(content(stream), folder, cell=index)
    return folder


# --- the grid


def test_grid_has_every_combination_once_with_names_of_their_own() -> None:
    grid = Grid(
        "learn", {"env": "robossl/Reacher-v0"}, {"seed": [0, 1, 2], "agent.encoder": ["none", "frozen"]}
    )
    cells = grid.cells()
    assert len({tuple(cell.values.values()) for cell in cells}) == len({cell.name for cell in cells}) == 6
    assert [cell.index for cell in cells] == list(range(6))
    assert all(cell.settings == {"env": "robossl/Reacher-v0", **cell.values} for cell in cells)


def test_name_of_a_cell_depends_on_its_settings_alone() -> None:
    few, many = Grid("learn", {}, {"seed": [1]}), Grid("learn", {}, {"seed": [0, 2, 1]})
    assert few.cells()[0].name == many.cells()[2].name
    assert few.cells()[0].name != Grid("learn", {"steps": 5}, {"seed": [1]}).cells()[0].name


def test_text_in_braces_is_the_value_of_the_axis() -> None:
    grid = Grid("pretrain", {"stream": "streams/{env}-{seed}"}, {"env": ["robossl/Reacher-v0"], "seed": [7]})
    assert grid.cells()[0].settings["stream"] == "streams/reacher-7"


# --- running


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


CARTPOLE = "robossl/CartPoleSwingUp-v0"
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
        held_out = robossl.collect(CARTPOLE, "random", 2048, tmp_path / "stream", num_envs=16)
        model = next((finished / "cells").iterdir())
        settings = {**settings, "model": str(model), "stream": str(held_out.path)}
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
    import shutil

    folder = Path(shutil.copytree(finished, tmp_path / "sweep"))
    more = content(stream, axes={**AXES, "seed": [0, 1, 2]})
    robossl.sweep(more, folder, cell=2)
    assert results(finished).items() < results(folder).items()


def test_error_of_a_cell_is_its_result_until_it_is_tried_again(stream: Path, tmp_path: Path) -> None:
    import shutil

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


def test_job_of_an_array_checks_its_cell_alone(stream: Path) -> None:
    """A value that is wrong in another cell is that cell's."""
    source = content(stream, axes={"seed": [0, "one"]})
    sweep_run.prepare(SweepRequest(source, "sweep", cell=0))
    for cell in (1, None):
        with pytest.raises(UsageError, match="cell 1: seed: expected int, got 'one'"):
            sweep_run.prepare(SweepRequest(source, "sweep", cell=cell))


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"comand": "learn"}, "no 'comand' among the keys; did you mean 'command'?"),
        ({"command": "lern"}, "no 'lern' among the commands; did you mean 'learn'?"),
        ({"command": 3}, "command: expected one of learn, pretrain"),
        ({"axes": {"seed": []}}, "axes.seed: expected at least one value, got an empty list"),
        ({"axes": {"seed": 3}}, "axes.seed: expected a list of values, got 3"),
        ({"axes": {"seed": [1, 1]}}, "axes.seed: expected different values, got 1 twice"),
        ({"axes": {}}, "at least one axis"),
        ({"axes": {"updates": [1]}}, "updates is an axis and a setting"),
        ({"axes": {"sed": [1]}}, "no 'sed' among the arguments; did you mean 'seed'"),
        ({"axes": {"world_model.latent_dm": [1]}}, "did you mean 'world_model.latent_dim'"),
        ({"axes": {"seed": [0, "one"]}}, "cell 1: seed: expected int, got 'one'"),
        ({"settings": {"stream": 3}}, "stream: expected str, got 3"),
        ({"axes": {"seed": [-1]}}, "seed: expected 0 or more, got -1"),
        ({"axes": {"threads": [2]}}, "threads: expected cpus_per_cell (1)"),
        ({"settings": {"stream": "{sed}"}}, "no '{sed}' among the references; did you mean '{seed}'?"),
        ({"settings": {}}, "expected stream in the settings or axes of the sweep, got none"),
    ],
)
def test_wrong_sweep_gets_one_line_before_anything_is_written(
    stream: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        robossl.sweep({**content(stream, axes={"seed": [0]}), **changes}, tmp_path / "sweep")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sweep").exists()


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
    import shutil

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


# --- the command


def write_file(path: Path, stream: Path) -> None:
    settings = "\n".join(f'"{key}" = {value!r}' for key, value in {**SMALL, "stream": str(stream)}.items())
    path.write_text(
        f'command = "pretrain"\n\n[settings]\n{settings}\n\n[axes]\nseed = [0, 1]\n'
        '"world_model.objectives" = [["forward", "inverse"]]\n'
    )


@pytest.mark.slow
def test_killed_driver_goes_on_and_repeats_no_finished_cell(
    finished: Path, stream: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    write_file(tmp_path / "sweep.toml", stream)
    command = [str(Path(sys.executable).with_name("robossl")), "sweep", "sweep.toml", "--out", "sweep"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    due = time.monotonic() + 240
    while len(results(tmp_path / "sweep")) < 1 and time.monotonic() < due:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "sweep" / "results").glob("*.json")}
    assert kept
    done = run_cli("sweep", "sweep.toml", "--out", "sweep", timeout=300)
    assert done.returncode == 0, done.stderr
    assert (
        kept.items()
        <= {p: p.stat().st_mtime_ns for p in (tmp_path / "sweep" / "results").glob("*.json")}.items()
    )
    assert results(tmp_path / "sweep") == results(finished)


@pytest.mark.slow
def test_job_array_of_the_documentation_runs_its_cell(finished: Path, stream: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    script = next(
        code for code in re.findall(r"```bash\n(.*?)```", page, re.S) if "SLURM_ARRAY_TASK_ID" in code
    )
    write_file(tmp_path / "sweep.toml", stream)
    (tmp_path / "job.sh").write_text(script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for index in (0, 1):
        environment = {
            **os.environ,
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_CPUS_PER_TASK": "1",
            "PATH": path,
        }
        subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert len(results(tmp_path / "sweeps" / "sweep")) == 2
    assert results(tmp_path / "sweeps" / "sweep").items() <= results(finished).items()


@pytest.mark.slow
def test_memory_of_a_worker_is_flat_over_50_short_cells(stream: Path, tmp_path: Path) -> None:
    """Resident memory after 50 cells in one process, against that after 10."""
    code = (
        "import sys, robossl\n"
        "from pathlib import Path\n"
        "from robossl.sweeps.grid import Grid\n"
        "from robossl.sweeps.sweep_folder import open_sweep\n"
        "from robossl.sweeps.sweep_run import cell_runner\n"
        f"settings = {dict(SMALL, stream=str(stream))!r}\n"
        "opened = open_sweep(Path('sweep'), Grid('pretrain', settings, {'seed': list(range(50))}), 1)\n"
        "run = cell_runner({'folder': 'sweep', 'working_folder': '.', 'trusted': []})\n"
        "for cell in opened.grid.cells():\n"
        "    assert run(cell.to_json()) == {}\n"
        "    if cell.index in (9, 49):\n"
        "        print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])\n"
        "assert all(opened.state(cell) == 'finished' for cell in opened.grid.cells())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    early, late = (int(text) / 1024 for text in done.stdout.split())  # [MiB]
    print(f"{early:.0f} MiB after 10 cells, {late:.0f} MiB after 50")
    assert late - early < 20
