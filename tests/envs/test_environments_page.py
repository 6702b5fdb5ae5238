"""The page on environments: its example is written out as a package, and robossl takes it in like its own."""

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


def written(folder: Path) -> Path:
    """The files that the page gives in full, in a folder."""
    for name, text in re.findall(
        r"^`(\S+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        (folder / name).write_text(text)
    return folder


def joined(folder: Path, name: str, entry: str) -> None:
    """Let a folder of modules look like an installed package with one entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[robossl.envs]\n{entry}\n")


def robossl_says(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, where the packages of a folder are installed."""
    return subprocess.run(
        [sys.executable, "-m", "robossl.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "default"},
    )


@pytest.fixture(scope="module")
def seesaw(tmp_path_factory):
    folder = written(tmp_path_factory.mktemp("package"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        module = importlib.import_module("seesaw")
        module.register()
        yield module
    del gym.registry[ENV], sys.modules["seesaw"]


def test_it_is_about_sixty_lines(seesaw) -> None:
    code = [line for line in Path(seesaw.__file__).read_text().splitlines() if line.strip()]
    assert len(code) < 60


def test_the_outside_judges_find_nothing(seesaw) -> None:
    check_env(gym.make(ENV).unwrapped, skip_render_check=True)
    sb3_check_env(gym.make(ENV).unwrapped, skip_render_check=True)


def test_many_lanes_live_as_single_ones(seesaw) -> None:
    envs = gym.make_vec(ENV, num_envs=3, nthread=2)
    singles = gym.vector.SyncVectorEnv([lambda: gym.make(ENV)] * 3)
    assert np.array_equal(envs.reset(seed=4)[0], singles.reset(seed=4)[0])
    random = np.random.default_rng(0)
    for _ in range(300):  # beyond the time limit
        actions = random.uniform(-1, 1, (3, 1)).astype(np.float32)
        ours, theirs = envs.step(actions), singles.step(actions)
        assert all(np.array_equal(a, b) for a, b in zip(ours[:4], theirs[:4]))
    assert set(envs.unwrapped.randomized_parameters) >= {"ball_mass", "link_mass", "gravity"}


def test_it_is_collected_as_a_native_batch(seesaw, tmp_path) -> None:
    stream = robossl.collect(ENV, steps=600, num_envs=4, out=tmp_path / "stream")
    assert stream.transitions >= 600
    envs = robossl.make(ENV, 4, 1)
    assert isinstance(
        envs.unwrapped, importlib.import_module("robossl.envs.engine.vector_env").MujocoVectorEnv
    )


def test_an_installed_package_joins_and_a_broken_one_is_named(tmp_path) -> None:
    joined(written(tmp_path), "seesaw", "seesaw = seesaw:register")
    (tmp_path / "worn.py").write_text("import no_such_gear\n")
    joined(tmp_path, "worn", "worn = worn:register")
    (tmp_path / "late.py").write_text("def register():\n    raise OSError('the arm is not plugged in')\n")
    joined(tmp_path, "late", "late = late:register")
    said = robossl_says(tmp_path, "envs", "--json")
    rows = {row["id"]: row for row in json.loads(said.stdout)}
    assert rows[ENV]["robot"] == "Seesaw"
    assert "robossl/Reacher-v0" in rows
    assert "entry point worn = worn:register (robossl.envs)" in said.stderr
    assert "No module named 'no_such_gear'" in said.stderr
    assert "entry point late = late:register (robossl.envs)" in said.stderr
    assert "the arm is not plugged in" in said.stderr


def test_check_finds_nothing_to_mend(tmp_path) -> None:
    joined(written(tmp_path), "seesaw", "seesaw = seesaw:register")
    said = robossl_says(tmp_path, "check", ENV)
    assert said.returncode == 0, said.stdout
    assert "no problems found" in said.stdout
    assert "commands that work: collect, pretrain, train, learn, evaluate, play, imagine" in said.stdout
