"""The command `sweep` in processes of its own: it is killed, run as a job array, and has a flat memory."""

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
from small_sweeps import SMALL, results, write_file

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


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


def test_memory_of_a_worker_is_flat_over_50_short_cells(stream: Path, tmp_path: Path) -> None:
    """Resident memory and Python objects after 50 cells in one process, against those after 10.

    Free memory that the allocator keeps is given back before a measurement: it changes by more than a cell takes.
    """
    code = (
        "import ctypes, gc, robossl\n"
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
        "        gc.collect()\n"
        "        ctypes.CDLL('libc.so.6').malloc_trim(0)\n"
        "        print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])\n"
        "        print(len(gc.get_objects()))\n"
        "assert all(opened.state(cell) == 'finished' for cell in opened.grid.cells())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    early_size, early_objects, late_size, late_objects = map(int, done.stdout.split())
    early, late = early_size / 1024, late_size / 1024  # [MiB]
    print(f"{early:.0f} MiB after 10 cells, {late:.0f} MiB after 50")
    assert late - early < 20
    assert late_objects <= early_objects + 100
