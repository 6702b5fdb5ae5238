"""The verdict of `check` about a command is what the command does, for envs of many habits."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import robossl
from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.env_checker.check_result import CheckResult
from robossl.env_checker.runner import run_in_thread
from robossl.env_checker.summary import summarize

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class Habit(gym.Env):
    """A counter with one habit, given by an argument."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, habit: str, render_mode: str | None = None) -> None:
        self.habit, self.render_mode = habit, render_mode
        self.observation_space = {
            "dots": spaces.Dict({"a.b": BOX, "c": BOX}),
            "slashes": spaces.Dict({"a/b": BOX, "c": BOX}),
            "text": spaces.Dict(a=BOX, word=spaces.Text(3)),
            "only text": spaces.Text(3),
        }.get(habit, BOX)
        self.action_space = {
            "unbounded actions": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "choices": spaces.MultiDiscrete([3, 2]),
            "parts of actions": spaces.Dict(arm=spaces.Box(-1, 1, (2,), np.float32), grip=spaces.Discrete(2)),
            "text actions": spaces.Text(3),
        }.get(habit, spaces.Box(-1.0, 1.0, (2,), np.float32))
        if habit == "raises when made":
            raise RuntimeError

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.habit == "old seeds" and seed is not None:
            np.random.RandomState(seed)
        self.t = 0
        return self.observe(), {}

    def observe(self):
        vector = np.array([self.t, -self.t, self.np_random.normal()], np.float32)
        if (self.habit == "rare nan" and self.t == 30) or (self.habit == "often nan" and self.t == 3):
            vector[1] = np.nan
        if self.habit == "huge" and self.t % 5 == 0:
            vector[2] = 3e38
        if isinstance(self.observation_space, spaces.Dict):
            return {key: "abc" if key == "word" else vector for key in self.observation_space.spaces}
        return "abc" if self.habit == "only text" else vector

    def step(self, action):
        self.t += 1
        reward = {"reward array": np.array([1.0]), "rewards": np.ones(2)}.get(self.habit, 1.0)
        limit = 300 if self.habit == "long" else 10**9 if self.habit == "endless" else 40
        if self.habit == "raises in step" and self.t == 25:
            raise RuntimeError
        return self.observe(), reward, False, self.t >= limit, {"stage": "a" if self.t % 2 else self.t}

    def render(self):
        frame = np.full((8, 8, 3), self.t % 255, np.uint8)
        return {
            "rgba": np.dstack([frame, frame[..., :1]]), "floats": frame / 255.0, "no frames": "text", "list": [frame],
        }.get(self.habit, frame)  # fmt: skip


WORKS = (
    "plain", "dots", "slashes", "text", "choices", "parts of actions", "unbounded actions", "old seeds", "rare nan",
    "reward array", "long", "endless", "rgba", "floats", "list", "no frames",
)  # fmt: skip
FAILS = (
    "only text", "text actions", "raises when made", "often nan", "huge", "rewards", "raises in step",
)  # fmt: skip


def verdicts(name: str) -> dict[str, CheckResult]:
    results: list[CheckResult] = []
    spec = registry.env_spec(name)
    run_in_thread(spec, registry.env_kwargs(name), 20.0, results.append, name)
    return {result.name: result for result in summarize(results)}


@pytest.mark.parametrize("habit", [*WORKS, *FAILS])
def test_verdict_on_collect_is_what_collect_does(habit, tmp_path) -> None:
    name = registry.name_of(f"{__name__}:Habit", habit=habit)
    found = verdicts(name)["command: collect"]
    try:
        robossl.collect(name, steps=600, num_envs=2, out=tmp_path / "s")
        works = True
    except (UsageError, OperationError) as error:
        works = "\n" in str(error)
    assert found.ok is works is (habit in WORKS), found


@pytest.mark.parametrize("habit", ["rgba", "floats", "list", "no frames"])
def test_verdict_on_play_is_what_play_does(habit, tmp_path) -> None:
    from robossl.training.videos import play

    name = registry.name_of(f"{__name__}:Habit", habit=habit)
    found = verdicts(name)["command: play"]
    try:
        play(name, "random", str(tmp_path / "a.mp4"), False, 1, 0)
        works = True
    except (UsageError, OperationError):
        works = False
    assert found.ok is works is (habit != "no frames"), found


def test_train_needs_bounded_actions_and_episodes_that_end_are_no_need() -> None:
    name = registry.name_of(f"{__name__}:Habit", habit="unbounded actions")
    assert verdicts(name)["command: train"].ok is False
    with pytest.raises(UsageError, match="bounds"):
        robossl.train(name, steps=10)
    long = verdicts(registry.name_of(f"{__name__}:Habit", habit="long"))
    assert all(result.ok for verdict, result in long.items() if verdict.startswith("command"))
    assert "report: control" not in long
    endless = verdicts(registry.name_of(f"{__name__}:Habit", habit="endless"))
    assert endless["command: learn"].ok
    assert (
        "no episode ends" in endless["report: control"].reason
        or "time limit" in endless["report: control"].reason
    )
