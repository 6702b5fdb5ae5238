"""Every command with valid arguments: what it prints and which files it writes."""

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
from capabilities import require
from cli_runner import fail, robossl, succeed
from filesystem import read_only
from resume_helpers import flags

from robossl.core.errors import UsageError
from robossl.core.io import read_json, write_json
from robossl.core.system_info import find_library
from robossl.world_model.config import PIXEL_CONFIG, WorldModelConfig

MANIFEST_KEYS = {
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
WORLD_MODEL = [
    w for i in range(0, len(TINY), 2) if TINY[i].startswith("--world_model.") for w in TINY[i : i + 2]
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a stream, a model and an agent, made by the command line."""
    workspace = tmp_path_factory.mktemp("workspace")
    succeed(workspace, "learn", *TINY, "--quiet", "--out", "run")
    succeed(
        workspace,
        "collect",
        "robossl/Reacher-v0",
        "--steps",
        3300,
        "--num-envs",
        8,
        "--out",
        "stream",
        "--quiet",
    )
    succeed(
        workspace,
        "pretrain",
        "stream",
        "--updates",
        20,
        *WORLD_MODEL,
        "--threads",
        1,
        "--out",
        "model",
        "--quiet",
    )
    succeed(
        workspace, "train", "robossl/Reacher-v0", "--representation", "model", "--steps", 600, "--num-envs", 4,
        "--threads", 1, "--out", "agent", "--quiet", "--export-sb3", "sac.zip",
    )  # fmt: skip
    return workspace


@pytest.mark.parametrize("name", ["run", "stream", "model", "agent"])
def test_manifest_has_what_reproduces_the_folder(workspace, name):
    manifest = read_json(workspace / name / "manifest.json")
    assert manifest.keys() >= MANIFEST_KEYS
    assert manifest["kind"] == name
    assert re.match(r"robossl (learn|collect|pretrain|train) ", manifest["command"])
    assert tomllib.loads((workspace / name / "config.toml").read_text())["seed"] == 0


def test_config_of_a_model_reproduces_its_bytes(workspace, tmp_path):
    shutil.copytree(workspace / "stream", tmp_path / "stream")
    succeed(
        tmp_path,
        "pretrain",
        "stream",
        "--config",
        workspace / "model" / "config.toml",
        "--out",
        "again",
        "--quiet",
    )
    weights = "model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (workspace / "model" / weights).read_bytes()


def test_envs_lists_and_filters_environments(tmp_path):
    lines = succeed(tmp_path, "envs").stdout.splitlines()
    assert any(
        re.match(r"robossl/Reacher-v0 .*8 observations .*2 actions .*40 ms per step", line) for line in lines
    )
    (env,) = succeed(tmp_path, "envs", "--filter", "Reacher-v0", "--json").document
    assert (env["id"], env["action"]) == ("robossl/Reacher-v0", 2)
    assert "CartPole-v1" in succeed(tmp_path, "envs", "--all").stdout


def test_check_of_a_native_env_finds_no_problems(tmp_path):
    assert succeed(tmp_path, "check", "robossl/Reacher-v0").stdout.strip().endswith("no problems found")


def test_check_refuses_a_missing_file(tmp_path):
    assert "missing.xml" in fail(tmp_path, "check", "missing.xml")


def test_doctor_prints_json_and_exit_code(tmp_path):
    done = robossl(tmp_path, "doctor", "--json")
    assert done.code == bool(done.document["problems"])
    assert list(tmp_path.iterdir()) == []


def test_resuming_a_finished_run_prints_its_report(workspace, run_cli):
    """Runs in a new process: output of libraries must not reach stdout either."""
    done = run_cli("learn", "--resume", workspace / "run", "--json")
    assert json.loads(done.stdout)["env"] == "robossl/Reacher-v0"
    out = succeed(workspace, "learn", "--resume", "run").stdout
    assert out.splitlines()[-1] == str(workspace / "run" / "report.html")


@pytest.mark.parametrize(
    ("args", "present", "missing"),
    [
        (["run"], {"world_model", "goal_reaching", "control"}, set()),  # with videos if a backend can render
        (["model", "--stream", "stream", "--no-videos"], {"world_model", "goal_reaching", "control"}, set()),
        (["agent", "--no-videos"], {"control"}, {"world_model", "goal_reaching"}),
    ],
)
def test_evaluate_takes_a_run_a_model_or_an_agent(workspace, tmp_path, args, present, missing, monkeypatch):
    monkeypatch.setattr(gym.spec("robossl/Reacher-v0"), "max_episode_steps", 40)
    done = succeed(
        workspace, "evaluate", *args, "--goal-trials", 2, "--goal-horizons", 10, "--episodes", 2, "--threads", 1,
        "--seed", 3, "--out", tmp_path / "found", "--json",
    )  # fmt: skip
    report = done.document
    assert present <= report.keys()
    assert missing <= report["missing"].keys()
    assert not missing & report.keys()
    videos = (tmp_path / "found" / "report.html").read_text().count("<video")
    unavailable = [key for key in report["missing"] if key.startswith("videos.")]
    assert videos + len(unavailable) == (3 if args == ["run"] else 0), report["missing"]
    assert report["device"].startswith(("cpu", "cuda", "mps"))
    assert read_json(tmp_path / "found" / "report.json") == {k: v for k, v in report.items() if k != "folder"}
    assert read_json(tmp_path / "found" / "manifest.json").keys() >= MANIFEST_KEYS
    assert tomllib.loads((tmp_path / "found" / "config.toml").read_text())["goal_trials"] == 2


def test_ablate_trains_variants_with_other_objectives(workspace, tmp_path):
    """The stream is the one that the model was trained on."""
    report = succeed(
        workspace, "evaluate", "model", "--ablate", "--updates", 2, "--goal-trials", 2, "--goal-horizons", 10,
        "--episodes", 1, "--threads", 1, "--no-videos", "--out", tmp_path / "found", "--json",
    ).document  # fmt: skip
    rows = report["ablation"]["rows"]
    assert list(rows)[:4] == ["own", "forward", "inverse", "sigreg"]
    assert report["ablation"]["updates"] == 2
    for name, row in rows.items():
        assert row["goal_reaching"]["reached_any"]["n"] == 2
        assert name == "random" or row.keys() >= {"objectives", "effective_rank", "probe_r2", "inverse_r2"}
    assert rows["own"]["objectives"] == ["forward", "inverse", "reconstruction", "error_prediction"]
    assert "Ablation of objectives" in (tmp_path / "found" / "report.html").read_text()
    assert "--ablate" in fail(workspace, "evaluate", "agent", "--ablate", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def is_mp4(path: Path) -> bool:
    return path.read_bytes()[4:8] == b"ftyp"


def test_imagine_takes_a_run_or_a_model(workspace, tmp_path):
    succeed(workspace, "imagine", "run", "--video", tmp_path / "run.mp4", "--horizon", 8)
    succeed(
        workspace, "imagine", "model", "--stream", "stream", "--video", tmp_path / "model.mp4", "--horizon", 8
    )
    succeed(workspace, "imagine", "model", "--video", tmp_path / "own.mp4", "--horizon", 8)
    assert is_mp4(tmp_path / "run.mp4")
    assert is_mp4(tmp_path / "model.mp4")
    assert is_mp4(tmp_path / "own.mp4")


def test_imagine_needs_the_stream_of_a_moved_model(workspace, tmp_path):
    shutil.copytree(workspace / "model", tmp_path / "moved")
    path = tmp_path / "moved" / "manifest.json"
    write_json(path, read_json(path) | {"stream": "gone", "stream_path": "/gone"}, checksum=True)
    assert "give --stream" in fail(workspace, "imagine", tmp_path / "moved")
    assert "expected a run or model folder" in fail(workspace, "imagine", "nothing")


@pytest.mark.parametrize("args", [["run"], ["agent"], ["robossl/Reacher-v0", "--policy", "colored_noise"]])
def test_play_records_an_agent_or_a_policy(workspace, tmp_path, args, monkeypatch):
    require(bool(find_library("egl") or find_library("osmesa")), "a GL backend")
    monkeypatch.setattr(gym.spec("robossl/Reacher-v0"), "max_episode_steps", 8)
    found = succeed(workspace, "play", *args, "--video", tmp_path / "play.mp4", "--json").document
    assert found["frames"] == 9
    assert is_mp4(tmp_path / "play.mp4")


def test_viewer_without_a_display_is_one_line(workspace):
    assert "no display to open a window on" in fail(
        workspace, "play", "robossl/Reacher-v0", "--viewer", code=1
    )


def test_unwritable_video_is_refused_before_any_work(workspace, tmp_path):
    with read_only(tmp_path / "closed") as closed:
        for args in (["play", "robossl/Reacher-v0"], ["imagine", "run"]):
            message = fail(workspace, *args, "--video", closed / "video.mp4")
            assert "closed" in message, message
    missing = tmp_path / "nowhere" / "video.mp4"
    assert "expected an existing folder" in fail(workspace, "imagine", "run", "--video", missing)


@pytest.mark.parametrize("name", ["minari", "lerobot"])
def test_exported_stream_is_imported_again(workspace, tmp_path, name):
    pytest.importorskip("h5py" if name == "minari" else "pyarrow")
    out = succeed(
        workspace, "stream", "export", "stream", "--to", name, "--out", tmp_path / "other", "--quiet"
    )
    assert out.stdout.splitlines()[-1] == str(tmp_path / "other")
    back = succeed(tmp_path, "stream", "import", "other", "--from", name, "--out", "back", "--json").document
    info = succeed(tmp_path, "stream", "info", "back", "--json").document
    assert back["losses"] == []
    assert (back["rows"], back["episodes"]) == (info["rows"], info["episodes"])
    assert f"{info['rows']:,} time steps" in out.stdout
    assert "is not empty" in fail(
        workspace, "stream", "export", "stream", "--to", name, "--out", tmp_path / "back"
    )


def test_an_agent_learns_from_a_relabeled_stream_alone(workspace, tmp_path):
    hard = "robossl/ReacherHard-v0"
    relabeled = succeed(
        workspace, "stream", "relabel", "stream", "--task", hard, "--out", tmp_path / "hard", "--quiet", "--json"
    ).document  # fmt: skip
    info = succeed(tmp_path, "stream", "info", "hard", "--json").document
    assert (info["env"], info["transitions"]) == (hard, relabeled["transitions"])
    train = ("train", hard, "--agent", "offline-td3", "--threads", 1, "--num-envs", 2, "--steps", 0)
    small = ("--offline-updates", 3, "--agent.settings.batch_size", 16, "--quiet", "--out")
    succeed(tmp_path, *train, "--stream", "hard", *small, "agent")
    assert json.loads((tmp_path / "agent" / "manifest.json").read_text())["offline_updates"] == 3
    assert "expected a stream with observations" in fail(
        workspace, *train, "--stream", "stream", *small, tmp_path / "no"
    )
    assert "give --stream" in fail(workspace, *train, *small, tmp_path / "no")


def test_stream_is_described_validated_and_repaired(workspace, tmp_path):
    shutil.copytree(workspace / "stream", tmp_path / "stream")
    assert re.search(r"rows +3,3\d\d", succeed(tmp_path, "stream", "info", "stream").stdout)
    assert succeed(tmp_path, "stream", "validate", "stream", "--json").document["ok"]
    chunk = tmp_path / "stream" / "chunk-000000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    found = robossl(tmp_path, "stream", "validate", "stream")
    assert found.code == 1
    assert chunk.name in found.stdout
    assert fail(tmp_path, "pretrain", "stream", code=1).endswith("robossl stream validate --repair stream\n")
    assert succeed(tmp_path, "stream", "validate", "stream", "--repair", "--json").document["repaired"]
    succeed(tmp_path, "stream", "info", "stream")


def test_report_of_one_run_and_of_two(workspace, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(workspace / "run", tmp_path / name)
    before = (tmp_path / "one" / "report.html").read_bytes()
    page = tmp_path / "reports" / "one" / "report.html"
    assert succeed(tmp_path, "report", "one").stdout.strip().endswith(str(page))
    assert page.is_file()
    assert (tmp_path / "one" / "report.html").read_bytes() == before
    both = succeed(tmp_path, "report", "one", "two", "--out", "both", "--json").document
    assert (tmp_path / both["page"]).is_file()


@pytest.mark.parametrize(
    "args",
    [
        ["learn", "--out", "."],
        ["collect", "robossl/Reacher-v0", "--out", "."],
        ["pretrain", "stream", "--out", "."],
        ["train", "robossl/Reacher-v0", "--out", "."],
        ["evaluate", "run", "--out", "."],
        ["report", "run", "run", "--out", "."],
    ],
)
def test_existing_files_are_not_overwritten(workspace, args):
    before = sorted(workspace.rglob("*"))
    message = fail(workspace, *args)
    assert message.strip().endswith("exists and is not empty; give another --out, or remove it first")
    assert sorted(workspace.rglob("*")) == before


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
            observation = self.state * np.float32(np.nan) if self.bad and self.count == 5 else self.state.copy()
            return observation, float(-abs(self.state[0])), False, False, {}

    gym.register("MyEnv-v0", MyEnv, max_episode_steps=30)
    gym.register("Bad-v0", MyEnv, max_episode_steps=30, kwargs={"bad": True})
"""


def test_env_of_a_file_in_the_working_folder_is_found(tmp_path, run_cli):
    """`my_env:MyEnv-v0` in the folder of my_env.py; the manifest has the package too."""
    (tmp_path / "my_env.py").write_text(textwrap.dedent(MY_ENV))
    assert "no problems found" in run_cli("check", "my_env:MyEnv-v0").stdout
    done = run_cli(
        "learn", "my_env:MyEnv-v0", *flags(steps=1000, agent__num_iterations=1), "--quiet", "--out", "run"
    )
    assert done.returncode == 0, done.stderr
    args = ("--stream", "run/stream", "--no-videos", "--episodes", "1", "--quiet", "--out", "found")
    refused = run_cli("evaluate", "run/model", *args)
    assert refused.returncode == 2
    assert "--trust-env my_env:MyEnv-v0" in refused.stderr  # only a file names it
    done = run_cli("evaluate", "run/model", "--trust-env", "my_env:MyEnv-v0", *args)
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "found" / "report.json")["env"] == "my_env:MyEnv-v0"
    bad = run_cli("learn", "my_env:Bad-v0", *flags(), "--quiet")
    assert bad.returncode == 2
    assert "Bad-v0: observation[0] is nan in lane 0 at step 5 of its episode, which ends there" in bad.stderr
    assert "robossl: expected finite numbers from Bad-v0" in bad.stderr.splitlines()[-1]
    found = succeed(tmp_path, "stream", "info", "runs/bad/stream", "--json").document
    assert found["transitions"] > 8 * 4
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_flags_override_the_default_world_model_for_images(tmp_path, monkeypatch):
    thirdparty_envs.register_thirdparty_envs()
    configs = []

    def learn(config, *args, **kwargs):
        configs.append(config.world_model)
        raise UsageError("stop here")

    monkeypatch.setattr("robossl.training.phases.learn", learn)
    for args in (
        ("thirdparty/ImageObservation-v0", "--world_model.batch_size", "16"),
        ("thirdparty/Good-v0",),
    ):
        assert "stop here" in fail(tmp_path, "learn", *args)
    assert configs == [dataclasses.replace(PIXEL_CONFIG, batch_size=16), WorldModelConfig()]
