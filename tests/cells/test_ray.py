"""Collectors and cells on a Ray of three processes end with the same bytes if processes are killed.

`make test-ray` installs Ray and runs this file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import START_SECONDS, Cluster, free_port, ray_cluster_of_three, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
needs_ray = pytest.mark.skipif(
    not Path(sys.executable).with_name("ray").exists(),
    reason="ray is not installed; make test-ray installs it",
)
COMMAND = str(Path(sys.executable).with_name("robossl"))
COLLECT = (
    "collect", "robossl/CartPoleSwingUp-v0", "--policy", "random", "--steps", "150000", "--num-envs", "4", "--workers",
    "2", "--threads", "1",
)  # fmt: skip
SWEEP = """command = "learn"

[settings]
env = "robossl/CartPoleSwingUp-v0"
steps = 512
explore.num_envs = 4
explore.fraction = 1.0
agent.num_iterations = 0
pretrain.updates = 3
goals = { trials = 0, head_updates = 0, control = false }
evaluate = { episodes = 1, videos = false }
world_model = { batch_size = 8, latent_dim = 4 }

[axes]
seed = [0, 1, 2, 3]
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("ray", reason="make test-ray installs it")
    with ray_cluster_of_three() as nodes:
        yield nodes


def start(
    folder: Path, environment: dict[str, str], *arguments: str, errors: Any = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, *arguments], cwd=folder, env=environment, stderr=errors, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors


def chunks(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the chunks of all shards by name."""
    paths = sorted(folder.glob("shard-*/chunk-*.safetensors"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def results(folder: Path) -> dict[str, str]:
    paths = sorted((folder / "results").glob("*.json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@needs_ray
def test_collectors_end_with_the_same_bytes_if_processes_are_killed(tmp_path: Path, cluster: Cluster) -> None:
    """A collector, then a worker node, then the driver is killed with -9, against worker processes without a fault."""
    finish(start(tmp_path, cluster.environment, *COLLECT, "--out", "local"))
    environment, out = cluster.driver_environment, tmp_path / "ray"
    messages = tmp_path / "messages.txt"
    with messages.open("w") as errors:
        driver = start(tmp_path, environment, *COLLECT, "--engine", "ray", "--out", "ray", errors=errors)
    wait_until(lambda: len(chunks(out)) >= 1 and cluster.actors())
    victim = cluster.actors()[0]
    before = set(cluster.actors())
    os.kill(victim, signal.SIGKILL)
    report = wait_until(lambda: "has died" in messages.read_text())
    count = len(chunks(out))
    started = wait_until(lambda: set(cluster.actors()) - before)
    more = wait_until(lambda: len(chunks(out)) > count or driver.poll() is not None)
    print(
        f"\nRay reports the death {report:.1f} s after it, a new collector is there {started:.1f} s after the report, "
        f"and the next block {more:.1f} s later"
    )
    driver.kill()  # SIGKILL
    driver.communicate()
    wait_until(lambda: not cluster.actors())
    driver = start(tmp_path, environment, "collect", "--resume", "ray", "--quiet")
    wait_until(lambda: cluster.actors() or driver.poll() is not None)
    cluster.workers[0].kill()
    finish(driver)
    assert chunks(out) == chunks(tmp_path / "local")


@needs_ray
def test_cells_end_with_the_same_results_if_processes_are_killed(tmp_path: Path, cluster: Cluster) -> None:
    """A worker process of a cell, then the driver, then a worker node is killed, against worker processes."""
    (tmp_path / "sweep.toml").write_text(SWEEP)
    finish(start(tmp_path, cluster.environment, "sweep", "sweep.toml", "--out", "local", "--quiet"))
    command = ("sweep", "sweep.toml", "--out", "ray", "--engine", "ray", "--quiet")
    environment, out = cluster.driver_environment, tmp_path / "ray"

    def tasks() -> list[int]:
        nodes = cluster.workers
        return [
            p for node in nodes for p, name in node.processes().items() if name.startswith("ray::run_task")
        ]

    driver = start(tmp_path, environment, *command)
    wait_until(tasks)
    os.kill(tasks()[0], signal.SIGKILL)
    wait_until(lambda: results(out))
    driver.kill()  # SIGKILL
    driver.communicate()
    kept = {path: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}
    driver = start(tmp_path, environment, *command)
    wait_until(lambda: tasks() or driver.poll() is not None)
    cluster.workers[0].kill()
    finish(driver)
    assert results(out) == results(tmp_path / "local")
    assert (
        kept.items() <= {path: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}.items()
    )


@needs_ray
@pytest.mark.skipif(
    shutil.which("unshare") is None, reason="no unshare: the file would end other Rays of this machine"
)
def test_batch_file_of_the_documentation_runs_its_sweep_on_one_node(tmp_path: Path) -> None:
    """With stand-ins for the commands of SLURM, in a namespace of processes, whose Ray `ray stop` ends."""
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    script = next(code for code in re.findall(r"```bash\n(.*?)```", page, re.S) if "symmetric-run" in code)
    assert "--cpus-per-cell 4" in script
    (tmp_path / "job.sh").write_text(script.replace("--cpus-per-cell 4", "--cpus-per-cell 1"))
    (tmp_path / "sweep.toml").write_text(
        'command = "train"\nsettings = { env = "robossl/CartPoleSwingUp-v0", steps = 60, num_envs = 2 }\n'
        "axes.seed = [0, 1]\n"
    )
    for name, command in (("srun", 'exec "$@"'), ("scontrol", "echo 127.0.0.1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": str(folder),
        "RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": str(START_SECONDS), "RAY_ADDRESS": "",
        "SLURM_JOB_ID": str(free_port() - 20000), "SLURM_JOB_NODELIST": "node", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "job.sh"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    shutil.rmtree(folder, ignore_errors=True)
    if "unshare failed" in done.stderr:
        pytest.skip("namespaces of processes are not allowed here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(results(tmp_path / "sweeps" / "sweep")) == 2


@needs_ray
def test_address_without_a_cluster_gets_one_line_soon(tmp_path: Path) -> None:
    environment: dict[str, Any] = {**os.environ, "RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    begin = time.monotonic()
    process = start(tmp_path, environment, *COLLECT, "--engine", "ray", "--out", "ray")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "RAY_ADDRESS: expected a Ray cluster at" in errors.strip().splitlines()[-1]
    assert time.monotonic() - begin < 60
