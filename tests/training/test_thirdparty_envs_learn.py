"""`learn` on third-party envs: it finishes; the report has every section or the reason why it is missing."""

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
from robossl.evaluation import control
from robossl.evaluation.video.recording import make_render_env
from robossl.streams import Stream, validate_stream
from robossl.training import videos

thirdparty_envs.register_thirdparty_envs()

SHORT = {
    "goals.control": True,
    "steps": 1000,
    "agent.num_iterations": 1,
    "explore.fraction": 0.8,
    "agent.learning_starts": 40,
}
ALL_ROWS = {"latent_observation", "observation", "random", "zero_action"}


def learn(env: str, folder: Any, **settings: Any) -> dict[str, Any]:
    report = robossl.learn(tiny(env, **{**SHORT, **settings}), folder / "run", progress=NullProgress())
    assert report == {**read_json(folder / "run" / "report.json"), "folder": str(folder / "run")}
    assert (folder / "run" / "report.html").read_text().startswith("<!doctype html>")
    return report


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ("thirdparty/NestedObservation-v0", {"goal_reaching": "no desired_goal"}),
        ("thirdparty/ManyInfos-v0", {"goal_reaching": "no desired_goal"}),
        ("thirdparty/NoSuccess-v0", {"control.success": "no is_success in its infos"}),
        ("thirdparty/DiscreteActions-v0", {"world_model.inverse_r2": "actions are discrete"}),
        ("thirdparty/GoalEnv-v0", {"goal_reaching": "cannot be set to a recorded state"}),
        (
            "CartPole-v1",
            {"world_model.inverse_r2": "actions are discrete", "control.success": "no is_success"},
        ),
    ],
)
def test_learn_works_on_any_spaces(env, missing, tmp_path):
    report = learn(env, tmp_path)
    reward_free = {"planner", "inverse_policy"} if "GoalEnv" in env else set()
    assert set(report["control"]["rows"]) == ALL_ROWS | reward_free
    assert report["control"]["rows"]["observation"]["curve"][-1][0] == report["control"]["steps"] > 0
    assert set(report["world_model"]["prediction_skill"]) >= {"1", "5"}
    for key, reason in missing.items():
        assert reason in report["missing"][key]


def test_env_that_cannot_be_rendered_has_no_agent_video_only(tmp_path):
    report = learn("thirdparty/RaisesInRender-v0", tmp_path, evaluate__videos=True)
    assert "in render: no canvas" in report["missing"]["videos.agent"]
    assert "videos.imagination" not in report["missing"]  # it shows curves
    assert set(report["control"]["rows"]) == ALL_ROWS
    again = robossl.evaluate(
        tmp_path / "run",
        env="thirdparty/RenderingNotInstalled-v0",
        episodes=1,
        threads=1,
        out=tmp_path / "again",
    )
    assert "pip install drawing_library" in again["missing"]["videos.agent"]
    assert "videos.imagination" not in again["missing"]
    assert set(again["control"]["rows"]) == ALL_ROWS


def test_images_are_observed_through_the_encoder_only(tmp_path, monkeypatch):
    for name in ("_WINDOWS", "_REFERENCE"):  # diagnostics of a few images are enough here
        monkeypatch.setattr(f"robossl.world_model.diagnostics.{name}", 32)
    report = learn(
        "thirdparty/ImageObservation-v0",
        tmp_path,
        world_model__image_size=44,
        world_model__batch_size=8,
        agent__settings__batch_size=8,
        steps=880,
    )
    assert set(report["control"]["rows"]) == {"latent", "observation", "random", "zero_action"}
    assert read_json(tmp_path / "run" / "observation-agent" / "sb3.json")["settings"]["encoder"] == "scratch"


def test_gymnasium_mujoco_env_writes_no_log_file(tmp_path, monkeypatch):
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
def test_world_model_is_trained_when_no_agent_can_learn(env, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_MAX_EPISODE_STEPS", 2_000)  # of an episode that never ends
    report = learn(env, tmp_path, agent__name="auto")
    assert "control" not in report
    assert reason in report["missing"]["control"]
    assert report["world_model"]["updates"] == 20
    log = (tmp_path / "run" / "log.txt").read_text()
    assert ("has no time limit: where an episode does not end" in log) == (env == "thirdparty/NeverEnds-v0")


@pytest.mark.parametrize(
    ("env", "number"),
    [
        ("thirdparty/NanObservation-v0", r"observation\[1\] is nan"),
        ("thirdparty/InfiniteReward-v0", "reward is inf"),
    ],
)
def test_unusable_numbers_in_every_episode_stop_the_run_and_keep_earlier_steps(env, number, tmp_path):
    with pytest.raises(UsageError, match=f"expected finite numbers from {env}, got {number} and more in"):
        learn(env, tmp_path)
    stream = Stream.open(tmp_path / "run" / "stream")
    assert stream.transitions > 100
    rows = [stream.read(lane, 0, int(stream.lengths[lane])) for lane in range(8)]
    assert all(np.isfinite(r["observation"]).all() and np.isfinite(r["reward"]).all() for r in rows)
    assert validate_stream(tmp_path / "run" / "stream")["ok"]


@pytest.mark.parametrize(
    ("env", "error", "message"),
    [
        (
            "thirdparty/Raises-v0",
            OperationError,
            r"raised ValueError .*joint 3 out of range \(faulty_envs.py:",
        ),
        (
            "thirdparty/GrowingObservation-v0",
            OperationError,
            r"step returned observation of shape \(3,\), expected \(2,\)",
        ),
        ("thirdparty/RaisesInConstructor-v0", UsageError, "RaisesInConstructor-v0.*no model robot.xml"),
        ("thirdparty/NoActions-v0", UsageError, "with actions"),
    ],
)
def test_error_of_an_env_is_reported_in_one_line(env, error, message, tmp_path):
    with pytest.raises(error, match=message) as caught:
        learn(env, tmp_path)
    assert "\n" not in str(caught.value)
    if error is UsageError:
        assert not (tmp_path / "run").exists()


def test_env_without_render_modes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"NoSuccess-v0 cannot be rendered as rgb_array; .* is \[\]"):
        make_render_env("thirdparty/NoSuccess-v0")
    with pytest.raises(UsageError, match="cannot be rendered as human"):
        make_render_env("thirdparty/NoSuccess-v0", "human")


def test_viewer_runs_at_real_time_speed(monkeypatch):
    times = []
    envs = registry.make_envs("thirdparty/Good-v0", 1)
    step = envs.step
    monkeypatch.setattr(
        envs, "step", lambda actions: (times.append(videos.time.monotonic()), step(actions))[1]
    )
    monkeypatch.setattr(videos, "make_render_env", lambda env, mode: envs if mode == "human" else None)
    monkeypatch.setattr(gym.spec("thirdparty/Good-v0"), "max_episode_steps", 6)
    found = videos.play("thirdparty/Good-v0", "random", None, viewer=True, episodes=1, seed=0)
    assert found["steps"] == len(times) == 6
    assert times[-1] - times[0] >= 5 / 20, "20 frames a second, and no faster"
