"""Every verb, rightly, as a newcomer would call it one after the other: what it prints and what it leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lives import flags

from robossl.core.files import read_json
from robossl.lab.machine import library

ROBOSSL = Path(sys.executable).with_name("robossl")
REPRODUCES = {
    "kind",
    "format",
    "command",
    "versions",
    "platform",
    "cores",
    "devices",
    "render",
    "env",
    "seed",
}
Call = Callable[..., subprocess.CompletedProcess[str]]

WORLD = [word for word in flags() if word.startswith("--world.")]
WORLD = [pair for i, word in enumerate(flags()) if word.startswith("--world.") for pair in flags()[i : i + 2]]


def call(folder: Path, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a folder, in words; it ends with this code and never with a traceback."""
    done = subprocess.run(
        [ROBOSSL, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "MUJOCO_LOG.TXT").exists()
    return done


def document(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document that is all of stdout."""
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which everything was made by the command line."""
    desk = tmp_path_factory.mktemp("desk")
    call(desk, "learn", *flags(), "--quiet", "--out", "run")
    call(
        desk, "collect", "robossl/Reacher-v0", "--steps", 3300, "--num-envs", 8, "--out", "stream", "--quiet"
    )
    call(desk, "pretrain", "stream", "--updates", 20, *WORLD, "--threads", 1, "--out", "model", "--quiet")
    call(
        desk, "train", "robossl/Reacher-v0", "--representation", "model", "--steps", 600, "--num-envs", 4,
        "--threads", 1, "--out", "agent", "--quiet", "--export-zip", "sac.zip",
    )  # fmt: skip
    return desk


@pytest.mark.parametrize("name", ["run", "stream", "model", "agent"])
def test_a_folder_says_how_it_was_made(desk, name):
    mark = read_json(desk / name / "robossl.json")
    assert mark.keys() >= REPRODUCES
    assert mark["kind"] == name
    assert re.match(r"robossl (learn|collect|pretrain|train) ", mark["command"])
    assert tomllib.loads((desk / name / "config.toml").read_text())["seed"] == 0


def test_the_config_of_a_run_or_a_model_makes_it_again(desk, tmp_path):
    """The settings in the folder are the settings that were used: the same bytes come of them."""
    shutil.copytree(desk / "stream", tmp_path / "stream")
    call(
        tmp_path,
        "pretrain",
        "stream",
        "--config",
        desk / "model" / "config.toml",
        "--out",
        "again",
        "--quiet",
    )
    weights = "model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (desk / "model" / weights).read_bytes()


def test_envs_lists_and_filters(tmp_path):
    lines = call(tmp_path, "envs").stdout.splitlines()
    assert any(
        re.match(r"robossl/Reacher-v0 .*8 observed .*2 actions .*40 ms a step", line) for line in lines
    )
    (found,) = document(call(tmp_path, "envs", "--filter", "Reacher-v0", "--json"))
    assert (found["id"], found["action"]) == ("robossl/Reacher-v0", 2)
    assert "CartPole-v1" in call(tmp_path, "envs", "--all").stdout


def test_check_says_that_ours_needs_no_mend(tmp_path):
    assert call(tmp_path, "check", "robossl/Reacher-v0").stdout.strip().endswith("nothing to mend")


def test_doctor_answers_in_words_and_in_json(tmp_path):
    done = subprocess.run(
        [ROBOSSL, "doctor", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == bool(document(done)["problems"])
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_told_again(desk):
    done = call(desk, "learn", "--resume", "run", "--json")
    assert document(done)["env"] == "robossl/Reacher-v0"
    assert call(desk, "learn", "--resume", "run").stdout.splitlines()[-1] == str(desk / "run" / "report.html")


@pytest.mark.parametrize(
    ("words", "present", "absent"),
    [
        (["run"], {"world", "goals", "control"}, set()),
        (["model", "--stream", "stream"], {"world", "goals"}, {"control"}),
        (["agent"], {"control"}, {"world", "goals"}),
    ],
)
def test_evaluate_judges_a_run_a_model_or_an_agent(desk, tmp_path, words, present, absent):
    done = call(
        desk, "evaluate", *words, "--pairs", 2, "--offset", 10, "--episodes", 2, "--threads", 1, "--seed", 3,
        "--out", tmp_path / "found", "--json",
    )  # fmt: skip
    report = document(done)
    assert present <= report.keys()
    assert absent <= report["absent"].keys()
    assert not absent & report.keys()
    assert report["device"] == "cpu" or "cuda" in report["device"]
    assert read_json(tmp_path / "found" / "report.json") == {k: v for k, v in report.items() if k != "folder"}
    assert read_json(tmp_path / "found" / "robossl.json").keys() >= REPRODUCES
    assert tomllib.loads((tmp_path / "found" / "config.toml").read_text())["pairs"] == 2


def test_dream_draws_the_model_of_a_run_or_a_folder(desk, tmp_path):
    call(desk, "dream", "run", "--video", tmp_path / "run.mp4", "--length", 12)
    call(desk, "dream", "model", "--stream", "stream", "--video", tmp_path / "model.mp4", "--length", 12)
    assert all((tmp_path / name).read_bytes()[4:8] == b"ftyp" for name in ("run.mp4", "model.mp4"))


@pytest.mark.skipif(not (library("egl") or library("osmesa")), reason="nothing here to draw with")
def test_play_draws_an_agent_or_an_env(desk, tmp_path):
    for words in (["run"], ["agent"], ["robossl/Reacher-v0", "--policy", "pink"]):
        found = document(call(desk, "play", *words, "--video", tmp_path / "it.mp4", "--json"))
        assert found["frames"] == 201
        assert (tmp_path / "it.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_stream_is_shown_and_mended(desk, tmp_path):
    shutil.copytree(desk / "stream", tmp_path / "stream")
    assert re.search(r"rows +3,3\d\d", call(tmp_path, "stream", "show", "stream").stdout)
    assert document(call(tmp_path, "stream", "validate", "stream", "--json"))["ok"]
    chunk = tmp_path / "stream" / "chunk-000000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    assert chunk.name in call(tmp_path, "stream", "validate", "stream", code=1).stdout
    assert call(tmp_path, "pretrain", "stream", code=1).stderr.count("\n") == 1
    assert document(call(tmp_path, "stream", "validate", "stream", "--repair", "--json"))["repaired"]
    assert call(tmp_path, "stream", "show", "stream").returncode == 0


def test_reports_of_one_run_and_of_two(desk, tmp_path):
    shutil.copytree(desk / "run", tmp_path / "one")
    shutil.copytree(desk / "run", tmp_path / "two")
    (tmp_path / "one" / "report.html").unlink()
    assert call(tmp_path, "report", "one").stdout.strip() == str(tmp_path / "one" / "report.html")
    both = document(call(tmp_path, "report", "one", "two", "--out", "both", "--json"))
    assert (tmp_path / both["page"]).is_file()
    assert call(tmp_path, "report", "one", "two", "--out", "both", code=2).stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["learn", "--out", "."],
        ["collect", "robossl/Reacher-v0", "--out", "."],
        ["pretrain", "stream", "--out", "."],
        ["train", "robossl/Reacher-v0", "--out", "."],
        ["evaluate", "run", "--out", "."],
    ],
)
def test_nothing_is_written_over(desk, words):
    before = sorted(desk.rglob("*"))
    said = call(desk, *words, code=2).stderr
    assert said.strip().endswith("exists and is not empty; give another --out, or remove it first")
    assert said.count("\n") == 1
    assert sorted(desk.rglob("*")) == before


MY_ENV = """
    import gymnasium as gym, numpy as np

    class MyEnv(gym.Env):
        observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
        action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

        def __init__(self, bad=False):
            self.bad = bad

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
            self.count = 0
            return self.state.copy(), {}

        def step(self, action):
            self.count += 1
            push = np.float32(np.clip(action[0], -1, 1))
            self.state = np.clip(self.state + 0.1 * np.array([self.state[1], push], np.float32), -9, 9)
            seen = self.state * np.float32(np.nan) if self.bad and self.count == 5 else self.state.copy()
            return seen, float(-abs(self.state[0])), False, False, {}

    gym.register("MyEnv-v0", MyEnv, max_episode_steps=30)
    gym.register("Bad-v0", MyEnv, max_episode_steps=30, kwargs={"bad": True})
"""


def test_an_env_in_a_file_beside_is_used_by_its_name(tmp_path):
    """Every verb on `my_env:MyEnv-v0`, in the folder of my_env.py; what was made remembers the package."""
    (tmp_path / "my_env.py").write_text(textwrap.dedent(MY_ENV))
    assert "nothing to mend" in call(tmp_path, "check", "my_env:MyEnv-v0").stdout
    call(tmp_path, "learn", "my_env:MyEnv-v0", *flags(steps=1000), "--quiet", "--out", "run")
    call(tmp_path, "evaluate", "run", "--episodes", 2, "--out", "found", "--quiet")
    call(tmp_path, "dream", "run", "--quiet", "--length", 5)
    call(tmp_path, "evaluate", "run/model", "--stream", "run/stream", "--episodes", 2, "--quiet")
    said = call(tmp_path, "learn", "my_env:Bad-v0", *flags(), "--quiet", code=2).stderr
    assert "Bad-v0 gave numbers that are not finite as observation in lane 0 at step 5" in said
    assert said.count("\n") == 1
    assert document(call(tmp_path, "stream", "show", "runs/bad/stream", "--json"))["transitions"] == 8 * 4
