"""Settings of all tests: no display, two threads, and a fixture that runs the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plain_plots import plain_plots

# Set before numpy and torch are imported; programs that a test starts inherit it.
os.environ.update(MPLBACKEND="Agg", SDL_VIDEODRIVER="dummy", NO_COLOR="1")
for _name in ("DISPLAY", "WAYLAND_DISPLAY", "FORCE_COLOR"):
    os.environ.pop(_name, None)
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "2"
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of numpy spin while they wait, in every worker
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in robossl.core.threads


_WITHOUT_PLOTS = (
    "training",
    "cli",
    "study",
    "sweeps",
)  # folders; tests/evaluation and the examples draw them


@pytest.fixture(autouse=True, scope="module")
def plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draw plots of pages only where tests are about them."""
    if request.path.parent.name in _WITHOUT_PLOTS:
        with plain_plots():
            yield
    else:
        yield


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_cli("envs", "--json")` runs `robossl envs --json` in the test's temporary folder.

    Returns the finished process with `returncode`, `stdout` and `stderr`; takes `cwd` and `timeout` [s].
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
