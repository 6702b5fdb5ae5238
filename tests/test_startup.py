"""Start-up is fast: heavy packages are imported only when they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "mujoco", "stable_baselines3", "matplotlib", "pandas", "imageio", "av", "scipy"}


def imported(*command: str) -> set[str]:
    """Return the top-level packages that Python imports while it runs a command."""
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


def test_import_list_contains_imported_packages():
    assert {"json", "numpy"} <= imported("-c", "import json, numpy")


def test_import_of_robossl_imports_no_heavy_package():
    found = imported("-c", "import robossl")
    assert "gymnasium" in found  # the environments are registered
    assert not found & HEAVY


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_no_heavy_package(argument):
    command = Path(sys.executable).with_name("robossl")
    assert not imported(str(command), argument) & HEAVY


def test_torch_has_two_threads_in_tests():
    program = "import torch; print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
