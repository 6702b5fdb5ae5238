"""A Ray of the tests: a head and two workers as separate processes of this machine, on the loopback interface."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 240  # on a busy machine
_COMMAND = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return int(connection.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS) -> float:
    """Wait for a condition, and return the seconds that it took; AssertionError if it never holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "the condition does not hold in time"
        time.sleep(0.02)
    return time.monotonic() - start


class Node:
    """One `ray start --block` with all processes that it starts."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [_COMMAND, "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", *arguments],
                env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def processes(self) -> dict[int, str]:
        """Return the command lines of its processes by id; children of dead parents keep the session."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":  # session
                found[int(path.name)] = command
        return found

    def kill(self) -> None:
        """End all its processes at once, as a power failure does."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.kill()
        self.process.wait()


class Cluster:
    """A head without CPUs and two workers with one CPU each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ, "RAY_TMPDIR": str(folder), "RAY_raylet_start_wait_time_s": str(START_SECONDS),
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "", "RAY_worker_niceness": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }  # fmt: skip
        self.driver_environment = {**self.environment, "RAY_ADDRESS": self.address}
        self._memory = f"--object-store-memory={100 << 20}"
        self.nodes: list[Node] = []

    @property
    def workers(self) -> list[Node]:
        """All nodes but the head."""
        return self.nodes[1:]

    def start(self) -> None:
        """Start the head, then the workers."""
        port = self.address.rpartition(":")[2]
        self._start(
            "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder}"
        )  # fmt: skip
        for _ in range(2):
            self._start(f"--address={self.address}", "--num-cpus=1")

    def _start(self, *arguments: str) -> None:
        log = self.folder / f"node-{len(self.nodes)}.log"
        self.nodes.append(Node([*arguments, self._memory], self.environment, log))
        wait_until(lambda: "Ray runtime started" in log.read_text())

    def actors(self) -> list[int]:
        """Return the ids of the processes of actors."""
        return [
            p
            for node in self.workers
            for p, name in node.processes().items()
            if name.startswith("ray::Actor")
        ]

    def stop(self) -> None:
        """End all nodes."""
        for node in reversed(self.nodes):
            node.kill()


@contextmanager
def ray_cluster_of_three() -> Iterator[Cluster]:
    """Yield a cluster that ends with the block."""
    folder = Path(
        tempfile.mkdtemp(prefix="ray", dir="/tmp")
    )  # names of sockets are limited to 107 characters
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
