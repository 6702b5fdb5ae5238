"""What every test can count on: no display, two threads, and a way to run the command line as people do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Before numpy and torch are imported, and inherited by every program a test starts.
os.environ.update(MPLBACKEND="Agg", SDL_VIDEODRIVER="dummy", NO_COLOR="1")
for _name in ("DISPLAY", "WAYLAND_DISPLAY", "FORCE_COLOR"):
    os.environ.pop(_name, None)
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "2"
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads spin while they wait, and every worker has some
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as robossl.core.threads has it


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_cli("envs", "--json")` runs `robossl envs --json` in the test's temporary folder.

    Returns the finished process with its `returncode`, `stdout` and `stderr`; takes `cwd` and `timeout` [s].
    """
    command = Path(sys.executable).with_name("robossl.exe" if os.name == "nt" else "robossl")

    def run(
        *arguments: object, cwd: Path = tmp_path, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(command), *(str(argument) for argument in arguments)],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
