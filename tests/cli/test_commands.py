"""Every verb, rightly, as a newcomer would call it one after the other: what it prints and what it leaves."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import textwrap
import tomllib
from pathlib import Path

import gymnasium as gym
import pytest
import thirdparty_envs
from cli_runner import right, robossl, wrong
from filesystem import read_only
from resume_helpers import flags

from robossl.core.errors import UsageError
from robossl.core.io import read_json
from robossl.core.system_info import library
from robossl.world_model.config import PIXEL_CONFIG, WorldModelConfig

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
TINY = flags()
WORLD = [w for at in range(0, len(TINY), 2) if TINY[at].startswith("--world_model.") for w in TINY[at : at + 2]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which everything was made by the command line."""
    desk = tmp_path_factory.mktemp("desk")
    right(desk, "learn", *TINY, "--quiet", "--out", "run")
    right(
        desk, "collect", "robossl/Reacher-v0", "--steps", 3300, "--num-envs", 8, "--out", "stream", "--quiet"
    )
    right(desk, "pretrain", "stream", "--updates", 20, *WORLD, "--threads", 1, "--out", "model", "--quiet")
    right(
        desk, "train", "robossl/Reacher-v0", "--representation", "model", "--steps", 600, "--num-envs", 4,
        "--threads", 1, "--out", "agent", "--quiet", "--export-sb3", "sac.zip",
    )  # fmt: skip
    return desk


@pytest.mark.parametrize("name", ["run", "stream", "model", "agent"])
def test_a_folder_says_how_it_was_made(desk, name):
    mark = read_json(desk / name / "manifest.json")
    assert mark.keys() >= REPRODUCES
    assert mark["kind"] == name
    assert re.match(r"robossl (learn|collect|pretrain|train) ", mark["command"])
    assert tomllib.loads((desk / name / "config.toml").read_text())["seed"] == 0


def test_the_config_of_a_run_or_a_model_makes_it_again(desk, tmp_path):
    """The settings in the folder are the settings that were used: the same bytes come of them."""
    shutil.copytree(desk / "stream", tmp_path / "stream")
    right(
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
    lines = right(tmp_path, "envs").stdout.splitlines()
    assert any(
        re.match(r"robossl/Reacher-v0 .*8 observed .*2 actions .*40 ms a step", line) for line in lines
    )
    (found,) = right(tmp_path, "envs", "--filter", "Reacher-v0", "--json").document
    assert (found["id"], found["action"]) == ("robossl/Reacher-v0", 2)
    assert "CartPole-v1" in right(tmp_path, "envs", "--all").stdout


def test_check_says_that_ours_needs_no_mend(tmp_path):
    assert right(tmp_path, "check", "robossl/Reacher-v0").stdout.strip().endswith("no problems found")


def test_check_wants_a_file_that_is_there(tmp_path):
    assert wrong(tmp_path, "check", "absent.xml").startswith("robossl: no MJCF file absent.xml")


def test_doctor_answers_in_words_and_in_json(tmp_path):
    done = robossl(tmp_path, "doctor", "--json")
    assert done.code == bool(done.document["problems"])
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_told_again(desk, run_cli):
    """In a process of its own, since what libraries print there must not reach stdout either."""
    done = run_cli("learn", "--resume", desk / "run", "--json")
    assert json.loads(done.stdout)["env"] == "robossl/Reacher-v0"
    said = right(desk, "learn", "--resume", "run").stdout
    assert said.splitlines()[-1] == str(desk / "run" / "report.html")


@pytest.mark.parametrize(
    ("words", "present", "absent"),
    [
        (["run"], {"world", "goals", "control"}, set()),  # with films, where there is something to draw with
        (["model", "--stream", "stream", "--no-videos"], {"world", "goals"}, {"control"}),
        (["agent", "--no-videos"], {"control"}, {"world", "goals"}),
    ],
)
def test_evaluate_judges_a_run_a_model_or_an_agent(desk, tmp_path, words, present, absent):
    done = right(
        desk, "evaluate", *words, "--goal-trials", 2, "--goal-horizon", 10, "--episodes", 2, "--threads", 1, "--seed", 3,
        "--out", tmp_path / "found", "--json",
    )  # fmt: skip
    report = done.document
    assert present <= report.keys()
    assert absent <= report["absent"].keys()
    assert not absent & report.keys()
    films = (tmp_path / "found" / "report.html").read_text().count("<video")
    lacking = [key for key in report["absent"] if key.startswith("videos.")]
    assert films + len(lacking) == (2 if words == ["run"] else 0), report["absent"]
    assert report["device"].startswith(("cpu", "cuda", "mps"))
    assert read_json(tmp_path / "found" / "report.json") == {k: v for k, v in report.items() if k != "folder"}
    assert read_json(tmp_path / "found" / "manifest.json").keys() >= REPRODUCES
    assert tomllib.loads((tmp_path / "found" / "config.toml").read_text())["pairs"] == 2


def test_evaluate_learns_the_model_anew_with_other_objectives(desk, tmp_path):
    """One command: the stream is the one that the model says it learned from."""
    report = right(
        desk, "evaluate", "model", "--ablate", "--updates", 2, "--goal-trials", 2, "--goal-horizon", 10, "--threads", 1,
        "--no-videos", "--out", tmp_path / "found", "--json",
    ).document  # fmt: skip
    rows = report["ablation"]["rows"]
    assert list(rows)[:4] == ["own", "forward", "inverse", "sigreg"]
    assert report["ablation"]["updates"] == 2
    for name, row in rows.items():
        assert row["goals"]["any"]["n"] == 2
        assert name == "random" or row.keys() >= {"objectives", "effective_rank", "probe_r2", "inverse_r2"}
    assert rows["own"]["objectives"] == ["forward", "inverse", "reconstruction", "error_prediction"]
    assert "What each objective brings" in (tmp_path / "found" / "report.html").read_text()
    assert "give --ablate a model or a run" in wrong(
        desk, "evaluate", "agent", "--ablate", "--out", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists()


def is_film(path: Path) -> bool:
    return path.read_bytes()[4:8] == b"ftyp"


def test_dream_draws_the_model_of_a_run_or_a_folder(desk, tmp_path):
    right(desk, "imagine", "run", "--video", tmp_path / "run.mp4", "--horizon", 8)
    right(desk, "imagine", "model", "--stream", "stream", "--video", tmp_path / "model.mp4", "--horizon", 8)
    right(desk, "imagine", "model", "--video", tmp_path / "own.mp4", "--horizon", 8)
    assert is_film(tmp_path / "run.mp4")
    assert is_film(tmp_path / "model.mp4")
    assert is_film(tmp_path / "own.mp4")


def test_a_model_whose_stream_is_gone_asks_for_one(desk, tmp_path):
    shutil.copytree(desk / "model", tmp_path / "moved")
    mark = tmp_path / "moved" / "manifest.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"stream": "gone", "stream_path": "/gone"}))
    assert "give --stream" in wrong(desk, "imagine", tmp_path / "moved")
    assert "expected a run or model folder" in wrong(desk, "imagine", "nothing")


@pytest.mark.skipif(not (library("egl") or library("osmesa")), reason="nothing here to draw with")
@pytest.mark.parametrize("words", [["run"], ["agent"], ["robossl/Reacher-v0", "--policy", "colored_noise"]])
def test_play_draws_an_agent_or_an_env(desk, tmp_path, words, monkeypatch):
    monkeypatch.setattr(gym.spec("robossl/Reacher-v0"), "max_episode_steps", 8)
    found = right(desk, "play", *words, "--video", tmp_path / "it.mp4", "--json").document
    assert found["frames"] == 9
    assert is_film(tmp_path / "it.mp4")


def test_a_window_without_a_display_is_one_line(desk):
    assert "there is no display to open a window on" in wrong(
        desk, "play", "robossl/Reacher-v0", "--viewer", code=1
    )


def test_a_film_that_cannot_be_written_is_refused_before_it_is_made(desk, tmp_path):
    with read_only(tmp_path / "closed") as closed:
        for words in (["play", "robossl/Reacher-v0"], ["imagine", "run"]):
            said = wrong(desk, *words, "--video", closed / "it.mp4")
            assert "closed may not be written to" in said, said
    assert "no folder" in wrong(desk, "imagine", "run", "--video", tmp_path / "nowhere" / "it.mp4")


@pytest.mark.parametrize("name", ["minari", "lerobot"])
def test_a_stream_is_exchanged(desk, tmp_path, name):
    pytest.importorskip("h5py" if name == "minari" else "pyarrow")
    out = right(desk, "stream", "export", "stream", "--to", name, "--out", tmp_path / "other", "--quiet")
    assert out.stdout.splitlines()[-1] == str(tmp_path / "other")
    back = right(tmp_path, "stream", "import", "other", "--from", name, "--out", "back", "--json").document
    told = right(tmp_path, "stream", "info", "back", "--json").document
    assert back["losses"] == []
    assert (back["rows"], back["episodes"]) == (told["rows"], told["episodes"])
    assert f"{told['rows']:,} rows" in out.stdout
    assert "is not empty" in wrong(
        desk, "stream", "export", "stream", "--to", name, "--out", tmp_path / "back"
    )


def test_a_stream_is_shown_and_mended(desk, tmp_path):
    shutil.copytree(desk / "stream", tmp_path / "stream")
    assert re.search(r"rows +3,3\d\d", right(tmp_path, "stream", "info", "stream").stdout)
    assert right(tmp_path, "stream", "validate", "stream", "--json").document["ok"]
    chunk = tmp_path / "stream" / "chunk-000000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    found = robossl(tmp_path, "stream", "validate", "stream")
    assert found.code == 1
    assert chunk.name in found.stdout
    assert wrong(tmp_path, "pretrain", "stream", code=1).endswith("robossl stream validate --repair stream\n")
    assert right(tmp_path, "stream", "validate", "stream", "--repair", "--json").document["repaired"]
    right(tmp_path, "stream", "info", "stream")


def test_reports_of_one_run_and_of_two(desk, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(desk / "run", tmp_path / name)
    (tmp_path / "one" / "report.html").unlink()
    assert right(tmp_path, "report", "one").stdout.strip() == str(tmp_path / "one" / "report.html")
    both = right(tmp_path, "report", "one", "two", "--out", "both", "--json").document
    assert (tmp_path / both["page"]).is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["learn", "--out", "."],
        ["collect", "robossl/Reacher-v0", "--out", "."],
        ["pretrain", "stream", "--out", "."],
        ["train", "robossl/Reacher-v0", "--out", "."],
        ["evaluate", "run", "--out", "."],
        ["report", "run", "run", "--out", "."],
    ],
)
def test_nothing_is_written_over(desk, words):
    before = sorted(desk.rglob("*"))
    said = wrong(desk, *words)
    assert said.strip().endswith("exists and is not empty; give another --out, or remove it first")
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


def test_an_env_in_a_file_beside_is_used_by_its_name(tmp_path, run_cli):
    """`my_env:MyEnv-v0`, in the folder of my_env.py; what was made of it remembers the package."""
    (tmp_path / "my_env.py").write_text(textwrap.dedent(MY_ENV))
    assert "no problems found" in run_cli("check", "my_env:MyEnv-v0").stdout
    done = run_cli("learn", "my_env:MyEnv-v0", *flags(steps=1000, agent__rounds=1), "--quiet", "--out", "run")
    assert done.returncode == 0, done.stderr
    words = ("--stream", "run/stream", "--no-videos", "--quiet", "--out", "found")
    done = run_cli("evaluate", "run/model", *words)
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "found" / "report.json")["env"] == "my_env:MyEnv-v0"
    bad = run_cli("learn", "my_env:Bad-v0", *flags(), "--quiet")
    assert bad.returncode == 2
    assert "Bad-v0 gave numbers that are not finite as observation in lane 0 at step 5" in bad.stderr
    assert bad.stderr.count("\n") == 1
    found = right(tmp_path, "stream", "info", "runs/bad/stream", "--json").document
    assert found["transitions"] == 8 * 4
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_learn_takes_the_recipe_for_pictures_and_the_users_word_before_it(tmp_path, monkeypatch):
    thirdparty_envs.register_thirdparty_envs()
    asked = []

    def learn(settings, **rest):
        asked.append(settings.world_model)
        raise UsageError("enough")

    monkeypatch.setattr("robossl.training.phases.learn", learn)
    for words in (("thirdparty/ImageObservation-v0", "--world_model.batch_size", "16"), ("thirdparty/Good-v0",)):
        assert "enough" in wrong(tmp_path, "learn", *words)
    assert asked == [dataclasses.replace(PIXEL_CONFIG, batch_size=16), WorldModelConfig()]
