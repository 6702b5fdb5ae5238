"""The example of docs/environments.md works as an installed package, like a built-in robot."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import robossl

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"
ENV = "seesaw/SeesawBalance-v0"


def write_example(folder: Path) -> Path:
    """Write the files that the page shows in full to a folder, and return the folder."""
    for name, text in re.findall(
        r"^`(\S+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        (folder / name).write_text(text)
    return folder


def add_entry_point(folder: Path, name: str, entry: str) -> None:
    """Make a folder of modules look like an installed package with one entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[robossl.envs]\n{entry}\n")


def run_cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with the packages of a folder installed."""
    return subprocess.run(
        [sys.executable, "-m", "robossl.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "default"},
    )


@pytest.fixture(scope="module")
def seesaw(tmp_path_factory):
    folder = write_example(tmp_path_factory.mktemp("package"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        module = importlib.import_module("seesaw")
        module.register()
        yield module
    del gym.registry[ENV], sys.modules["seesaw"]


def test_example_has_less_than_sixty_lines(seesaw) -> None:
    code = [line for line in Path(seesaw.__file__).read_text().splitlines() if line.strip()]
    assert len(code) < 60


def test_example_passes_third_party_env_checkers(seesaw) -> None:
    check_env(gym.make(ENV).unwrapped, skip_render_check=True)
    sb3_check_env(gym.make(ENV).unwrapped, skip_render_check=True)


def test_example_batch_equals_single_envs(seesaw) -> None:
    envs = gym.make_vec(ENV, num_envs=3, nthread=2)
    singles = gym.vector.SyncVectorEnv([lambda: gym.make(ENV)] * 3)
    assert np.array_equal(envs.reset(seed=4)[0], singles.reset(seed=4)[0])
    random = np.random.default_rng(0)
    for _ in range(300):  # beyond the time limit
        actions = random.uniform(-1, 1, (3, 1)).astype(np.float32)
        batch, single = envs.step(actions), singles.step(actions)
        assert all(np.array_equal(a, b) for a, b in zip(batch[:4], single[:4]))
    assert set(envs.unwrapped.randomized_parameters) >= {"ball_mass", "link_mass", "gravity"}


def test_example_is_recorded_as_a_native_batch(seesaw, tmp_path) -> None:
    stream = robossl.collect(ENV, steps=600, num_envs=4, out=tmp_path / "stream")
    assert stream.transitions >= 600
    envs = robossl.make(ENV, 4, 1)
    assert isinstance(
        envs.unwrapped, importlib.import_module("robossl.envs.engine.vector_env").MujocoVectorEnv
    )


def test_installed_package_is_listed_and_broken_ones_are_named(tmp_path) -> None:
    add_entry_point(write_example(tmp_path), "seesaw", "seesaw = seesaw:register")
    (tmp_path / "broken_import.py").write_text("import no_such_module\n")
    add_entry_point(tmp_path, "broken_import", "broken_import = broken_import:register")
    (tmp_path / "broken_register.py").write_text(
        "def register():\n    raise OSError('the arm is not connected')\n"
    )
    add_entry_point(tmp_path, "broken_register", "broken_register = broken_register:register")
    result = run_cli(tmp_path, "envs", "--json")
    rows = {row["id"]: row for row in json.loads(result.stdout)}
    assert rows[ENV]["robot"] == "SeesawRobot"
    assert "robossl/Reacher-v0" in rows
    assert "entry point broken_import = broken_import:register (robossl.envs)" in result.stderr
    assert "No module named 'no_such_module'" in result.stderr
    assert "entry point broken_register = broken_register:register (robossl.envs)" in result.stderr
    assert "the arm is not connected" in result.stderr


def test_check_finds_no_problem_in_the_example(tmp_path) -> None:
    add_entry_point(write_example(tmp_path), "seesaw", "seesaw = seesaw:register")
    result = run_cli(tmp_path, "check", ENV)
    assert result.returncode == 0, result.stdout
    assert "no problems found" in result.stdout
    assert "commands that work: collect, pretrain, train, learn, evaluate, play, imagine" in result.stdout
