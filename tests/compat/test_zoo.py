"""rl_zoo3, unmodified, trains, saves and loads agents in robossl's envs, given the name of the package only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="make compat installs rl_zoo3")
pytestmark = pytest.mark.slow
HYPERPARAMETERS = Path(__file__).with_name("hyperparameters.yml")


def run_zoo(folder: Path, module: str, *arguments: str) -> str:
    """Stdout of a program of rl_zoo3."""
    process = subprocess.run(
        [sys.executable, "-m", f"rl_zoo3.{module}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    return process.stdout


@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [("ppo", "robossl/WalkerWalk-v0"), ("sac", "robossl/Reacher-v0"), ("tqc", "robossl/PushT-v0")],
)
def test_rl_zoo_trains_and_plays(algorithm, env_id, tmp_path) -> None:
    arguments = (
        "--algo",
        algorithm,
        "--env",
        env_id,
        "--gym-packages",
        "robossl",
        "--seed",
        "0",
        "--device",
        "cpu",
    )
    trained = run_zoo(
        tmp_path, "train", *arguments, "-n", "600", "-conf", str(HYPERPARAMETERS), "-f", "logs",
        "--eval-freq", "300", "--eval-episodes", "1",
    )  # fmt: skip
    assert "Saving to logs" in trained
    assert list((tmp_path / "logs" / algorithm).rglob("best_model.zip"))
    played = run_zoo(tmp_path, "enjoy", *arguments, "-f", "logs", "-n", "320", "--no-render", "--exp-id", "1")
    assert "Episode Reward" in played or "Mean reward" in played
