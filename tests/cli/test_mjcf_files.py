"""A robot is asked for by its MJCF file: every verb takes it, and what it leaves can be used from any folder."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli_runner import right, wrong
from resume_helpers import flags

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.training import evaluation_steps, output_dirs

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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "robots" / "my_arm.xml"
    path.parent.mkdir()
    path.write_text(ROBOT)
    return path


def test_the_verbs_take_a_file_and_what_they_leave_stands_by_itself(file: Path, tmp_path: Path) -> None:
    right(tmp_path, "collect", "robots/my_arm.xml", "--steps", "6000", "--out", "stream")
    right(tmp_path, "pretrain", "stream", "--pretrain.updates", "2", "--out", "model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    right(elsewhere, "evaluate", "../model", "--no-videos", "--out", "evaluation")
    right(elsewhere, "imagine", "../model", "--stream", "../stream", "--horizon", "5", "--video", "dream.mp4")
    for folder in (tmp_path / "stream", tmp_path / "model", elsewhere / "evaluation"):
        assert output_dirs.recorded_env(folder) == str(file)


def test_learn_takes_a_file(file: Path, tmp_path: Path) -> None:
    right(tmp_path, "learn", "robots/my_arm.xml", *flags(), "--out", "run")
    assert output_dirs.recorded_env(tmp_path / "run") == str(file)
    assert "<h1>my_arm.xml</h1>" in (tmp_path / "run" / "report.html").read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    right(elsewhere, "learn", "--resume", "../run")
    right(elsewhere, "evaluate", "../run", "--no-videos", "--episodes", "1", "--out", "evaluation")


def test_an_agent_of_a_file_is_trained_and_played(file: Path, tmp_path: Path) -> None:
    right(tmp_path, "train", "robots/my_arm.xml", "--steps", "32", "--num-envs", "2", "--out", "agent")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for of in ("../agent", "../robots/my_arm.xml"):
        right(elsewhere, "play", of, "--video", "played.mp4")


def test_check_takes_a_file(file: Path, tmp_path: Path) -> None:
    assert (
        "commands that work: collect, pretrain, train, learn" in right(tmp_path, "check", "robots/my_arm.xml").stdout
    )


def test_a_batch_of_a_file_is_known_by_it(file: Path) -> None:
    by_id = gym.make_vec("robossl/Mjcf-v0", num_envs=2, model=str(file))
    by_file = robossl.make(str(file), num_envs=2)
    assert registry.env_name(by_id) == registry.env_name(by_file) == str(file)
    assert np.array_equal(by_id.reset(seed=1)[0], by_file.reset(seed=1)[0])


def test_a_stream_of_such_a_batch_leads_back_to_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    envs = gym.make_vec("robossl/Mjcf-v0", num_envs=2, model=file.name)
    stream = robossl.collect(envs, steps=40, out=tmp_path / "stream")
    monkeypatch.chdir(tmp_path)
    env = str(output_dirs.recorded_env(stream.path))
    assert env == str(file)
    assert evaluation_steps.step_seconds(env, **evaluation_steps.recorded_settings(stream)) == pytest.approx(
        0.02
    )


def test_a_file_that_was_moved_is_taken_where_it_is_asked_for(file: Path, tmp_path: Path) -> None:
    stream = robossl.collect(str(file), steps=40, out=tmp_path / "stream", num_envs=2)
    moved = file.rename(tmp_path / "moved.xml")
    assert evaluation_steps.step_seconds(
        str(moved), **evaluation_steps.recorded_settings(stream)
    ) == pytest.approx(0.02)


def test_a_file_that_is_not_there_is_answered(tmp_path: Path) -> None:
    for verb in ("learn", "collect", "train", "check"):
        assert wrong(tmp_path, verb, "absent.xml").startswith("robossl: no MJCF file absent.xml")
    with pytest.raises(UsageError, match=r"no MJCF file absent\.mjcf"):
        robossl.make("absent.mjcf")


def test_folders_of_a_file_have_its_name() -> None:
    names = {"/home/me/robots/my_arm.xml": "my_arm", "My_Arm.XML": "my_arm", "my-vehicle.mjcf": "my-vehicle"}
    assert {file: output_dirs.slug(file) for file in names} == names
