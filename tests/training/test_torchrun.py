"""`torchrun ... pretrain`: real processes on this machine, on pixels."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_runner import succeed

from robossl.core.interfaces import NullProgress
from robossl.training.collection import collect_stream
from robossl.training.requests import CollectRequest
from robossl.world_model import WorldModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = (
    "--device", "cpu", "--threads", "2", "--goals.head_updates", "0", "--world_model.batch_size", "16",
    "--world_model.image_size", "44", "--world_model.random_shift", "2", "--world_model.unroll_steps", "2",
    "--world_model.encoder_hidden", "32", "--world_model.dynamics_hidden", "32",
)  # fmt: skip


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    """A stream of images."""
    folder = tmp_path_factory.mktemp("stream") / "s"
    request = CollectRequest("robossl/Reacher-v0", steps=900, out=folder, num_envs=4, threads=1, pixels=32)
    collect_stream(request, NullProgress())
    return folder


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def torchrun(folder: Path, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port",
        str(free_port()), "-m", "robossl.cli.main", *map(str, arguments),
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("robossl: ")]


def losses(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k.startswith("world_model/")} for r in records]


def test_two_processes_have_the_loss_curve_of_the_joined_batch(stream, tmp_path):
    arguments = ("pretrain", stream, "--updates", 60, *SMALL, "--out")
    done = torchrun(tmp_path, *arguments, "two")
    assert done.returncode == 0, done.stderr
    succeed(tmp_path, *arguments, "one")
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(first) == len(second) >= 2  # records of losses, and one of diagnostics
    for expected, found in zip(first, second):
        assert found == pytest.approx(expected, rel=2e-2, abs=1e-5)  # rounding grows with the updates
    models = [WorldModel.load(tmp_path / name, "cpu") for name in ("one", "two")]
    one, two = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models)
    assert (
        one - two
    ).norm() < 1e-2 * one.norm()  # Adam makes a rounding error of a small gradient a large one
    assert done.stdout.count("latent dimension") == 1  # only rank 0 writes
    half = torchrun(tmp_path, "pretrain", stream, "--updates", 50, *SMALL, "--out", "resumed")
    assert half.returncode == 0
    assert torchrun(tmp_path, "pretrain", "--resume", "resumed", "--updates", "+10").returncode == 0
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("two", "resumed")]
    assert files[0] == files[1]


def test_killed_process_ends_the_others_with_one_line(stream, tmp_path):
    port = str(free_port())
    arguments = ("pretrain", str(stream), "--updates", "100000", *SMALL, "--out", "m", "--quiet")
    processes = []
    for rank in range(2):
        variables = {
            "TORCHELASTIC_RUN_ID": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        command = [sys.executable, "-m", "robossl.cli.main", *arguments]
        processes.append(
            subprocess.Popen(
                command, cwd=tmp_path, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True
            )
        )
    metrics, deadline = tmp_path / "m" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGKILL)
    text = processes[0].communicate(timeout=300)[1]
    processes[1].communicate(timeout=300)
    assert processes[0].returncode == 1
    assert lines_of(text) == [
        "robossl: process 0 of 2 ends, because another process of this training has ended; start all again with "
        "--resume"
    ]
    assert "Traceback" not in text


def test_wrong_requests_are_one_line_of_all_processes(stream, tmp_path):
    done = torchrun(tmp_path, "pretrain", stream, *SMALL, "--out", "m", processes=3)
    (line,) = lines_of(done.stderr)
    assert "divides world_model.batch_size=16, got 3" in line
    assert not (tmp_path / "m").exists()
    (line,) = lines_of(torchrun(tmp_path, "learn").stderr)
    assert "expected the command pretrain, got learn" in line
    (line,) = lines_of(torchrun(tmp_path, "pretrain", stream, *SMALL, "--seeds", 0, 1).stderr)
    assert "expected one seed, got several" in line
