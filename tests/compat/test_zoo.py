"""rl_zoo3 trains, saves and loads again, unmodified, knowing nothing but the name of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="make judges installs rl_zoo3")
pytestmark = pytest.mark.slow
HYPERPARAMETERS = Path(__file__).with_name("hyperparameters.yml")


def zoo(folder: Path, module: str, *words: str) -> str:
    """What a program of rl_zoo3 says."""
    done = subprocess.run(
        [sys.executable, "-m", f"rl_zoo3.{module}", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [("ppo", "robossl/WalkerWalk-v0"), ("sac", "robossl/Reacher-v0"), ("tqc", "robossl/PushT-v0")],
)
def test_it_trains_and_enjoys(algorithm, env_id, tmp_path) -> None:
    words = (
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
    told = zoo(
        tmp_path, "train", *words, "-n", "600", "-conf", str(HYPERPARAMETERS), "-f", "logs",
        "--eval-freq", "300", "--eval-episodes", "1",
    )  # fmt: skip
    assert "Saving to logs" in told
    assert list((tmp_path / "logs" / algorithm).rglob("best_model.zip"))
    played = zoo(tmp_path, "enjoy", *words, "-f", "logs", "-n", "320", "--no-render", "--exp-id", "1")
    assert "Episode Reward" in played or "Mean reward" in played
