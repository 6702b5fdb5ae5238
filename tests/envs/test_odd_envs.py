"""Envs with odd habits: the work goes on, or one line names the env and the line of its code."""

from __future__ import annotations

import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import robossl
from robossl import registry
from robossl.core.errors import OperationError, UsageError, error_line
from robossl.streams import Stream

BOX = spaces.Box(-9, 9, (2,), np.float32)


class Odd(gym.Env):
    """An env of eight steps, with one habit by name."""

    def __init__(self, habit: str, render_mode: str | None = None) -> None:
        self.habit, self.action_space = habit, BOX
        self.observation_space = {
            "no numbers": spaces.Box(-1, 1, (0,), np.float32),
            "a part without numbers": spaces.Dict(a=spaces.Box(-1, 1, (0,), np.float32), b=BOX),
            "control characters": spaces.Dict({"a\x1b[31m": BOX}),
            "deep": _nested(70),
        }.get(habit, BOX)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        if self.habit == "exits at reset":
            raise SystemExit("no display")
        return self._observe(), {}

    def _observe(self) -> Any:
        if self.habit in ("control characters", "deep"):
            return self.observation_space.sample()
        if (self.habit, self.count) in (("none", 3), ("none at reset", 0)):
            return None
        return {
            "no numbers": np.zeros(0, np.float32),
            "a part without numbers": {"a": np.zeros(0, np.float32), "b": np.zeros(2, np.float32)},
        }.get(self.habit, np.zeros(2, np.float32))

    def step(self, action: Any) -> Any:
        self.count += 1
        if self.habit == "exits":
            raise SystemExit(3)
        if self.habit == "wordless":
            raise WordlessError
        info: Any = {
            "info is none": None,
            "info is a list": [],
            "keys of vector envs": {"final_obs": 3, "final_info": {"a": 1}, "robossl_unusable": 1, "_x": 2},
            "cannot be copied": {"lock": threading.Lock()},
        }.get(self.habit, {})
        terminated: Any = {"nan flag": float("nan"), "two flags": np.zeros(2, bool)}.get(self.habit, False)
        return self._observe(), 0.5, terminated, self.count == 8, info

    def close(self) -> None:
        if self.habit == "close fails":
            raise RuntimeError("no window")
        if self.habit == "close exits":
            raise SystemExit(1)


class WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def _nested(levels: int) -> spaces.Space:
    space: spaces.Space = BOX
    for _ in range(levels):
        space = spaces.Dict({"x": space})
    return space


gym.register("odd/Odd-v0", Odd)


@pytest.mark.parametrize(
    ("habit", "line"),
    [
        ("exits at reset", r"SystemExit in .*: no display \(test_odd_envs.py:\d+\)"),
        ("exits", r"SystemExit in .*: 3 \(test_odd_envs.py:\d+\)"),
        ("wordless", r"raised WordlessError in .* \(test_odd_envs.py:\d+\)"),
        ("none", "step returned observation with elements that are no numbers"),
        ("none at reset", "reset returned observation with elements that are no numbers"),
        ("info is a list", "the info is a list, expected a dict"),
        ("nan flag", "terminated is nan, expected True or False"),
        ("two flags", "terminated has 2 values"),
        ("no numbers", "which cannot be recorded"),
        ("control characters", r"cannot be recorded: .*x1b"),
        ("deep", "cannot be recorded: .*nested more than"),
    ],
)
def test_one_line_names_what_is_odd(habit, line, tmp_path) -> None:
    with pytest.raises((OperationError, UsageError), match=line) as caught:
        robossl.collect("odd/Odd-v0", policy="random", steps=40, num_envs=2, out=tmp_path / "s", habit=habit)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s" / "stream.json").exists() or Stream.open(tmp_path / "s").rows >= 0


@pytest.mark.parametrize(
    "habit",
    [
        "info is none",
        "keys of vector envs",
        "cannot be copied",
        "a part without numbers",
        "close fails",
        "close exits",
    ],
)
def test_habits_that_do_no_harm_are_recorded(habit, tmp_path, monkeypatch) -> None:
    vectorization = "auto" if habit in ("cannot be copied", "close exits") else "sync"
    monkeypatch.setattr("robossl.envs.engine.gymnasium_envs._CHEAP_STEP", 0.0)  # auto: both are tried
    monkeypatch.setattr("robossl.envs.engine.gymnasium_envs._TRIAL_TIME", 0.0)
    envs = registry.make_envs("odd/Odd-v0", 2, vectorization=vectorization, habit=habit)
    stream = robossl.collect(envs, policy="random", steps=40, out=tmp_path / "s")
    assert (stream.transitions, len(stream.episodes())) == (40, 6)
    envs.close()


def test_error_without_text_has_its_class() -> None:
    assert error_line(WordlessError()) == "WordlessError: "


def test_physics_that_always_diverges_ends_the_recording(tmp_path) -> None:
    robot = tmp_path / "robot.xml"
    robot.write_text(
        "<mujoco><option gravity='nan 0 0'/><worldbody><body><joint name='j'/><geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='j' ctrlrange='-1 1'/></actuator></mujoco>"
    )
    with pytest.raises(UsageError, match=r"physics of .* that stay finite, got \d+ steps of \d+ after which"):
        robossl.collect(str(robot), policy="random", steps=400, num_envs=2, out=tmp_path / "s")
    assert Stream.open(tmp_path / "s").rows > 50
