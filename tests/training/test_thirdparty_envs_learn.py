"""The whole loop on other people's envs: it ends, and the report has what applies and a reason for the rest."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs
from resume_helpers import tiny

import robossl
from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.streams import Stream, validate_stream
from robossl.training import videos

thirdparty_envs.register_thirdparty_envs()

SHORT = {"steps": 1000, "agent.num_iterations": 1, "explore.fraction": 0.8, "agent.learning_starts": 40}
ALL_ROWS = {"representation", "raw", "random", "do_nothing"}


def learn(env: str, folder: Any, **settings: Any) -> dict[str, Any]:
    report = robossl.learn(tiny(env, **{**SHORT, **settings}), folder / "run", progress=NullProgress())
    assert report == {**read_json(folder / "run" / "report.json"), "folder": str(folder / "run")}
    assert (folder / "run" / "report.html").read_text().startswith("<!doctype html>")
    return report


@pytest.mark.parametrize(
    ("env", "absent"),
    [
        ("thirdparty/NestedObservation-v0", {"goals": "no desired_goal"}),
        ("thirdparty/ManyInfos-v0", {"goals": "no desired_goal"}),
        ("thirdparty/NoSuccess-v0", {"control.success": "no is_success in its infos"}),
        ("thirdparty/DiscreteActions-v0", {"world.inverse_r2": "actions are choices"}),
        ("thirdparty/GoalEnv-v0", {"goals": "cannot be put into a recorded state"}),
        ("CartPole-v1", {"world.inverse_r2": "actions are choices", "control.success": "no is_success"}),
    ],
)
def test_an_env_of_any_form_is_learned(env, absent, tmp_path):
    report = learn(env, tmp_path)
    assert set(report["control"]["rows"]) == ALL_ROWS
    assert report["control"]["rows"]["raw"]["curve"][-1][0] == report["control"]["steps"] > 0
    assert set(report["world"]["forward_skill"]) >= {"1", "5"}
    for key, reason in absent.items():
        assert reason in report["absent"][key]


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ("thirdparty/RenderingNotInstalled-v0", "pip install drawing_library"),
        ("thirdparty/RaisesInRender-v0", "in render: no canvas"),
    ],
)
def test_what_cannot_be_drawn_lacks_its_films_and_nothing_else(env, reason, tmp_path):
    report = learn(env, tmp_path, evaluate__videos=True)
    assert reason in report["absent"]["videos.agent"]
    assert "videos.dream" not in report["absent"]  # its numbers are drawn as curves
    assert set(report["control"]["rows"]) == ALL_ROWS


def test_images_are_seen_through_the_representation_alone(tmp_path, monkeypatch):
    for name in ("_WINDOWS", "_REFERENCE"):  # few images will do for the health of a model nobody uses
        monkeypatch.setattr(f"robossl.world_model.diagnostics.{name}", 32)
    report = learn("thirdparty/ImageObservation-v0", tmp_path, world_model__image_size=44, world_model__batch_size=8, steps=880)
    assert set(report["control"]["rows"]) == ALL_ROWS - {"raw"}
    assert "images only" in report["absent"]["control.raw"]


def test_a_mujoco_env_of_gymnasium_leaves_no_log_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gym.spec("HalfCheetah-v5"), "max_episode_steps", 50)  # not 1000
    report = learn("HalfCheetah-v5", tmp_path)
    assert set(report["control"]["rows"]) == ALL_ROWS
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ("thirdparty/ZeroReward-v0", "the reward was 0 at all 800 explored steps"),
        ("thirdparty/NeverEnds-v0", "no episode ended in 800 explored steps"),
        ("thirdparty/UnboundedActions-v0", "bounds"),
    ],
)
def test_where_no_agent_can_learn_the_world_is_learned_still(env, reason, tmp_path):
    report = learn(env, tmp_path)
    assert "control" not in report
    assert reason in report["absent"]["control"]
    assert report["world"]["updates"] == 20


@pytest.mark.parametrize(("env", "step"), [("thirdparty/NanObservation-v0", 7), ("thirdparty/InfiniteReward-v0", 9)])
def test_numbers_that_are_none_stop_the_run_and_all_before_them_is_kept(env, step, tmp_path):
    with pytest.raises(
        UsageError, match=f"{env} gave numbers that are not finite as .* in lane 0 at step {step}"
    ):
        learn(env, tmp_path)
    stream = Stream.open(tmp_path / "run" / "stream")
    assert stream.transitions == 8 * (step - 1)
    assert all(np.isfinite(stream.read(lane, 0, step)["observation"]).all() for lane in range(8))
    assert validate_stream(tmp_path / "run" / "stream")["ok"]


@pytest.mark.parametrize(
    ("env", "error", "words"),
    [
        (
            "thirdparty/Raises-v0",
            OperationError,
            r"raised ValueError .*joint 3 out of range \(faulty_envs.py:",
        ),
        ("thirdparty/GrowingObservation-v0", OperationError, "raised ValueError in step"),
        ("thirdparty/RaisesInConstructor-v0", UsageError, "cannot be made: no model robot.xml"),
        ("thirdparty/MultiDiscreteActions-v0", UsageError, "MultiDiscrete"),
    ],
)
def test_what_an_env_raises_is_told_in_one_line(env, error, words, tmp_path):
    with pytest.raises(error, match=words) as told:
        learn(env, tmp_path)
    assert "\n" not in str(told.value)
    if error is UsageError:
        assert not (tmp_path / "run").exists()


def test_an_env_that_draws_nothing_is_not_asked_to() -> None:
    with pytest.raises(UsageError, match=r"Unsuccessful-v0 cannot be looked at as rgb_array: .* is \[\]"):
        videos.make_render_env("thirdparty/NoSuccess-v0")
    with pytest.raises(UsageError, match="cannot be looked at as human"):
        videos.make_render_env("thirdparty/NoSuccess-v0", "human")


def test_a_window_is_lived_in_at_the_pace_of_the_env(monkeypatch):
    lived = []
    envs = registry.make_envs("thirdparty/Good-v0", 1)
    step = envs.step
    monkeypatch.setattr(
        envs, "step", lambda actions: (lived.append(videos.time.monotonic()), step(actions))[1]
    )
    monkeypatch.setattr(videos, "viewable", lambda env, mode: envs if mode == "human" else None)
    monkeypatch.setattr(gym.spec("thirdparty/Good-v0"), "max_episode_steps", 6)
    found = videos.play("thirdparty/Good-v0", "random", None, viewer=True, episodes=1, seed=0)
    assert found["steps"] == len(lived) == 6
    assert lived[-1] - lived[0] >= 5 / 20, "20 frames a second, and no faster"
