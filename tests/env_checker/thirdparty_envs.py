"""Strangers' environments: good ones in several forms, and one for each thing that can be wrong.

`register_strangers()` gives them the ids thirdparty/Good-v0, thirdparty/Nan-v0, ... A process of its own can
import this module by name, as it would a stranger's package.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

STEPS = 40  # time limit of the good ones
_REACH = 2.0  # how far the point can go
_NEAR = 0.2  # of the middle: success


class Good(gym.Env):
    """A point on a line, pushed left and right; it should stay in the middle."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space: gym.Space = spaces.Box(-_REACH, _REACH, (2,), np.float32)
        self.action_space: gym.Space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.position, self.velocity, self.count = 0.0, 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.velocity, self.count = self.start(), 0.0, 0
        return self.observe(), self.inform()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.count += 1
        self.move(self.push(action))
        return self.observe(), self.reward(), False, False, self.inform()

    def start(self) -> float:
        return float(self.np_random.uniform(-1.0, 1.0))

    def push(self, action: Any) -> float:
        return float(np.clip(action[0], -1.0, 1.0))

    def move(self, push: float) -> None:
        self.velocity = float(np.clip(0.9 * self.velocity + 0.1 * push, -1.0, 1.0))
        self.position = float(np.clip(self.position + 0.2 * self.velocity, -_REACH, _REACH))

    def observe(self) -> Any:
        return np.array([self.position, self.velocity], np.float32)

    def reward(self) -> Any:
        return 1.0 - abs(self.position) / _REACH

    def inform(self) -> dict[str, Any]:
        return {"is_success": abs(self.position) < _NEAR, "distance": abs(self.position)}

    def render(self) -> Any:
        image = np.full((32, 64, 3), 230, np.uint8)
        column = int((self.position + _REACH) / (2 * _REACH) * 60)
        image[12:20, column : column + 4] = (200, 60, 40)
        return image


class Dictionary(Good):
    """Its observation is a Dict with a Tuple and a Discrete inside."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        line = spaces.Box(-_REACH, _REACH, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "motion": spaces.Tuple((line, line)),
                "side": spaces.Discrete(2),
                "clock": spaces.Box(0, 1, (), np.float64),
            }
        )

    def observe(self) -> Any:
        motion = (np.array([self.position], np.float32), np.array([self.velocity], np.float32))
        clock = np.array(min(self.count / 1000, 1.0))
        return {"motion": motion, "side": np.int64(self.position > 0), "clock": clock}


class Unsuccessful(Good):
    """Says nothing of success, and cannot be looked at."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def inform(self) -> dict[str, Any]:
        return {}


class Talkative(Good):
    """Its infos have keys of its own, some only now and then."""

    def inform(self) -> dict[str, Any]:
        infos = {**super().inform(), "energy": 0.5 * self.velocity**2, "mood": "calm"}
        return {**infos, "bump": self.velocity} if self.count % 5 == 4 else infos


class Buttons(Good):
    """Pushed by three buttons: a Discrete action space that starts at 1."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Discrete(3, start=1)

    def push(self, action: Any) -> float:
        return float(action) - 2.0


class Goal(Good):
    """A goal env: the point is to be brought to a place that is drawn at the reset."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        place = spaces.Box(-_REACH, _REACH, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {"observation": self.observation_space, "achieved_goal": place, "desired_goal": place}
        )
        self.goal = np.zeros(1, np.float32)

    def start(self) -> float:
        self.goal = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return super().start()

    def observe(self) -> Any:
        here = np.array([self.position], np.float32)
        return {"observation": super().observe(), "achieved_goal": here, "desired_goal": self.goal.copy()}

    def reward(self) -> Any:
        seen = self.observe()
        return float(self.compute_reward(seen["achieved_goal"], seen["desired_goal"], {}))

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> Any:
        return 1.0 - np.linalg.norm(achieved_goal - desired_goal, axis=-1) / _REACH


class WrongGoal(Goal):
    """Its compute_reward is of another task."""

    def reward(self) -> Any:
        return 0.25


class Picture(Good):
    """Shows an image."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0, 255, (32, 64, 3), np.uint8)

    def observe(self) -> Any:
        return self.render()


class ChannelsFirst(Good):
    """Shows an image with its channels first."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0, 255, (3, 32, 64), np.uint8)

    def observe(self) -> Any:
        return np.ascontiguousarray(self.render().transpose(2, 0, 1))


class Nan(Good):
    """Its velocity is no number from the seventh step on."""

    def observe(self) -> Any:
        velocity = np.nan if self.count >= 7 else self.velocity
        return np.array([self.position, velocity], np.float32)


class Leaves(Good):
    """Its observation goes beyond its space."""

    def observe(self) -> Any:
        return np.array([self.position, 3.0 if self.count == 5 else self.velocity], np.float32)


class Grows(Good):
    """Its observation is longer from the third step on."""

    def observe(self) -> Any:
        return np.zeros(3 if self.count >= 3 else 2, np.float32)


class Double(Good):
    """Its observation is float64, its space float32."""

    def observe(self) -> Any:
        return np.array([self.position, self.velocity])


class Mutates(Good):
    """Gives the same array away again and again."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.array = np.zeros(2, np.float32)

    def observe(self) -> Any:
        self.array[:] = self.position, self.velocity
        return self.array


class WritesActions(Good):
    """Writes into the action it is given."""

    def push(self, action: Any) -> float:
        action *= 0.5
        return float(action[0])


class HangsInReset(Good):
    """Waits for something that never comes."""

    def start(self) -> float:
        while True:
            time.sleep(0.05)


class HangsInStep(Good):
    """Waits in its tenth step."""

    def move(self, push: float) -> None:
        while self.count >= 10:
            time.sleep(0.05)
        super().move(push)


class HoldsTheInterpreter(Good):
    """Waits in its tenth step inside a library that lets no other thread run."""

    def move(self, push: float) -> None:
        if self.count == 10:
            ctypes.PyDLL(None).sleep(60)
        super().move(push)


class Raises(Good):
    """Raises in its fifth step."""

    def move(self, push: float) -> None:
        if self.count == 5:
            raise ValueError("the arm is not where it should be")
        super().move(push)


class RaisesInReset(Good):
    """Raises in reset."""

    def start(self) -> float:
        return {"there": 0.0}["nowhere"]


class Unmakeable(Good):
    """Cannot be made."""

    def __init__(self, render_mode: str | None = None) -> None:
        raise FileNotFoundError("no model robot.xml")


class Undrawable(Good):
    """Would draw with a package that is not here."""

    def render(self) -> Any:
        raise gym.error.DependencyNotInstalled("crayons is not installed, run `pip install crayons`")


class Smudges(Good):
    """Raises when it draws."""

    def render(self) -> Any:
        raise ValueError("the pen is dry")


class Crashes(Good):
    """Ends the process in its eighth step, as a broken library does."""

    def move(self, push: float) -> None:
        if self.count == 8:
            ctypes.string_at(0)
        super().move(push)


class IgnoresSeed(Good):
    """Draws from the generator that everybody shares."""

    def start(self) -> float:
        return float(np.random.uniform(-1.0, 1.0))  # noqa: NPY002 - that is what is wrong with it


class Remembers(Good):
    """What it did before a reset decides what comes after it."""

    wear = 1.0

    def move(self, push: float) -> None:
        self.wear *= 0.999
        super().move(push * self.wear)


class AlwaysTheSame(Good):
    """Begins alike whatever the seed."""

    def start(self) -> float:
        return 0.5


class OldStep(Good):
    """step of the older interface, with one done."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.count >= STEPS, info


class OldReset(Good):
    """reset of the older interface."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()[0]


class Endless(Good):
    """No time limit, no ending."""


class Unbounded(Good):
    """Its action has no limits."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class ManyButtons(Good):
    """A MultiDiscrete action space."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.MultiDiscrete([3, 2])


class Still(Good):
    """There is nothing it could do."""

    def __init__(self, render_mode=None) -> None:
        super().__init__(render_mode)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (0,), np.float32)

    def push(self, action):
        return 0.0


class DrawsNothing(Good):
    """It draws from an empty range, which numpy refuses in compiled code."""

    def step(self, action):
        if self.count == 5:
            self.np_random.integers(5, 3)
        return super().step(action)


class Uninformed(Good):
    """Its info is no dict."""

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, None)


class OddValues(Good):
    """Its reward is an array, its endings whole numbers, its success a text."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, np.array([reward]), 0, 0, {**info, "is_success": "yes"}


class Rewardless(Good):
    """No reward at all."""

    def reward(self) -> Any:
        return 0.0


class InfiniteReward(Good):
    """Its reward is infinite in its ninth step."""

    def reward(self) -> Any:
        return np.inf if self.count == 9 else 0.5


class EndsByItself(Buttons):
    """No time limit is registered; its episodes end by themselves."""

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, bool(self.np_random.random() < 0.05), truncated, info


_UNLIMITED = (Endless, EndsByItself)


def register_strangers() -> list[str]:
    """Register every env of this module; the ids. May be called again."""
    ids = []
    for name, kind in globals().items():
        if isinstance(kind, type) and issubclass(kind, Good):
            ids.append(f"thirdparty/{name}-v0")
            if ids[-1] not in gym.registry:
                limit = None if kind in _UNLIMITED else STEPS
                gym.register(ids[-1], entry_point=f"{__name__}:{name}", max_episode_steps=limit)
    return ids
