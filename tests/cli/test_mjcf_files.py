"""Every command takes an MJCF file as env, and what it writes can be used from any folder."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli_runner import fail, succeed
from resume_helpers import flags

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.evaluation import context as evaluation_context
from robossl.training import output_dirs

ROBOT = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="shoulder" type="hinge" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.4" size="0.03"/>
    </body>
  </worldbody>
  <actuator><motor joint="shoulder"/></actuator>
</mujoco>
"""
WORLD_MODEL = [
    w
    for name, value in zip(flags()[::2], flags()[1::2])
    if name.startswith("--world_model.")
    for w in (name, value)
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "robots" / "my_arm.xml"
    path.parent.mkdir()
    path.write_text(ROBOT)
    return path


def test_commands_take_a_file_and_their_folders_work_elsewhere(file: Path, tmp_path: Path) -> None:
    succeed(tmp_path, "collect", "robots/my_arm.xml", "--steps", "6000", "--out", "stream")
    succeed(tmp_path, "pretrain", "stream", "--pretrain.updates", "2", *WORLD_MODEL, "--out", "model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    succeed(elsewhere, "evaluate", "../model", "--no-videos", "--episodes", "1", "--out", "evaluation")
    succeed(
        elsewhere, "imagine", "../model", "--stream", "../stream", "--horizon", "5", "--video", "imagined.mp4"
    )
    for folder in (tmp_path / "stream", tmp_path / "model", elsewhere / "evaluation"):
        assert output_dirs.recorded_env(folder) == str(file)


def test_learn_takes_a_file(file: Path, tmp_path: Path) -> None:
    succeed(tmp_path, "learn", "robots/my_arm.xml", *flags(), "--out", "run")
    assert output_dirs.recorded_env(tmp_path / "run") == str(file)
    page = (tmp_path / "run" / "report.html").read_text().replace("<wbr>", "")
    assert "<h1>my_arm.xml</h1>" in page
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    succeed(elsewhere, "learn", "--resume", "../run")
    succeed(elsewhere, "evaluate", "../run", "--no-videos", "--episodes", "1", "--out", "evaluation")


def test_train_and_play_take_a_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym.spec("robossl/Mjcf-v0"), "max_episode_steps", 8)
    succeed(tmp_path, "train", "robots/my_arm.xml", "--steps", "32", "--num-envs", "2", "--out", "agent")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in ("../agent", "../robots/my_arm.xml"):
        succeed(elsewhere, "play", path, "--video", "played.mp4")


def test_check_takes_a_file(file: Path, tmp_path: Path) -> None:
    assert (
        "commands that work: collect, pretrain, train, learn"
        in succeed(tmp_path, "check", "robots/my_arm.xml").stdout
    )


def test_envs_of_a_file_are_named_by_the_file(file: Path) -> None:
    by_id = gym.make_vec("robossl/Mjcf-v0", num_envs=2, model=str(file))
    by_file = robossl.make(str(file), num_envs=2)
    assert registry.env_name(by_id) == registry.env_name(by_file) == str(file)
    assert np.array_equal(by_id.reset(seed=1)[0], by_file.reset(seed=1)[0])


def test_stream_records_the_absolute_path_of_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    envs = gym.make_vec("robossl/Mjcf-v0", num_envs=2, model=file.name)
    stream = robossl.collect(envs, steps=40, out=tmp_path / "stream")
    monkeypatch.chdir(tmp_path)
    env = str(output_dirs.recorded_env(stream.path))
    assert env == str(file)
    assert evaluation_context.step_seconds(
        env, **evaluation_context.recorded_settings(stream)
    ) == pytest.approx(0.02)


def test_stream_of_a_moved_file_is_used_with_its_new_path(file: Path, tmp_path: Path) -> None:
    stream = robossl.collect(str(file), steps=40, out=tmp_path / "stream", num_envs=2)
    moved = file.rename(tmp_path / "moved.xml")
    assert evaluation_context.step_seconds(
        str(moved), **evaluation_context.recorded_settings(stream)
    ) == pytest.approx(0.02)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    for command in ("learn", "collect", "train", "check"):
        assert "missing.xml" in fail(tmp_path, command, "missing.xml")
    with pytest.raises(UsageError, match=r"missing\.mjcf"):
        robossl.make("missing.mjcf")


def test_slug_of_a_file_is_its_name() -> None:
    names = {"/home/me/robots/my_arm.xml": "my_arm", "My_Arm.XML": "my_arm", "my-vehicle.mjcf": "my-vehicle"}
    assert {file: output_dirs.slug(file) for file in names} == names
