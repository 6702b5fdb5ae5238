"""Saying hello is quick: the heavy packages are not imported before they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "mujoco", "stable_baselines3", "matplotlib", "pandas", "imageio", "av", "scipy"}


def imported(*command: str) -> set[str]:
    """The top-level packages that Python imports while it runs a command."""
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


def test_the_list_of_imports_sees_what_is_imported():
    assert {"json", "numpy"} <= imported("-c", "import json, numpy")


def test_importing_robossl_imports_nothing_heavy():
    found = imported("-c", "import robossl")
    assert "gymnasium" in found  # the environments are registered
    assert not found & HEAVY


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_command_line_answers_without_anything_heavy(argument):
    command = Path(sys.executable).with_name("robossl")
    assert not imported(str(command), argument) & HEAVY


def test_tests_compute_with_two_threads():
    program = "import torch; print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
