"""Third-party envs with one fault each."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from thirdparty_envs import MAX_EPISODE_STEPS, GoalEnv, Good


class WrongComputeReward(GoalEnv):
    """compute_reward computes another reward than step."""

    def reward(self) -> Any:
        return 0.25


class ChannelsFirst(Good):
    """The observation is an image with channels first."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0, 255, (3, 32, 64), np.uint8)

    def observe(self) -> Any:
        return np.ascontiguousarray(self.render().transpose(2, 0, 1))


class NanObservation(Good):
    """The velocity is NaN from step 7 on."""

    def observe(self) -> Any:
        velocity = np.nan if self.count >= 7 else self.velocity
        return np.array([self.position, velocity], np.float32)


class OutOfBounds(Good):
    """The observation leaves its space in step 5."""

    def observe(self) -> Any:
        return np.array([self.position, 3.0 if self.count == 5 else self.velocity], np.float32)


class GrowingObservation(Good):
    """The observation is longer from step 3 on."""

    def observe(self) -> Any:
        return np.zeros(3 if self.count >= 3 else 2, np.float32)


class Float64Observation(Good):
    """The observation is float64, its space float32."""

    def observe(self) -> Any:
        return np.array([self.position, self.velocity])


class MutatesObservations(Good):
    """Returns the same array from every call."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.array = np.zeros(2, np.float32)

    def observe(self) -> Any:
        self.array[:] = self.position, self.velocity
        return self.array


class MutatesActions(Good):
    """Writes into its action argument."""

    def push(self, action: Any) -> float:
        action *= 0.5
        return float(action[0])


class HangsInReset(Good):
    """Hangs in reset."""

    def initial_position(self) -> float:
        while True:
            time.sleep(0.05)


class HangsInStep(Good):
    """Hangs in step 10."""

    def move(self, push: float) -> None:
        while self.count >= 10:
            time.sleep(0.05)
        super().move(push)


class HoldsGil(Good):
    """Hangs in step 10 inside a library that holds the GIL."""

    def move(self, push: float) -> None:
        if self.count == 10:
            ctypes.PyDLL(None).sleep(60)
        super().move(push)


class Raises(Good):
    """Raises in step 5."""

    def move(self, push: float) -> None:
        if self.count == 5:
            raise ValueError("joint 3 out of range")
        super().move(push)


class RaisesInReset(Good):
    """Raises in reset."""

    def initial_position(self) -> float:
        return {"x": 0.0}["missing"]


class RaisesInConstructor(Good):
    """Raises in its constructor."""

    def __init__(self, render_mode: str | None = None) -> None:
        raise FileNotFoundError("no model robot.xml")


class RenderingNotInstalled(Good):
    """Renders with a package that is not installed."""

    def render(self) -> Any:
        raise gym.error.DependencyNotInstalled(
            "drawing_library is not installed, run `pip install drawing_library`"
        )


class RaisesInRender(Good):
    """Raises in render."""

    def render(self) -> Any:
        raise ValueError("no canvas")


class Crashes(Good):
    """Crashes the process in step 8, as a broken library does."""

    def move(self, push: float) -> None:
        if self.count == 8:
            ctypes.string_at(0)
        super().move(push)


class GlobalRandom(Good):
    """Draws from numpy's global generator."""

    def initial_position(self) -> float:
        return float(np.random.uniform(-1.0, 1.0))  # noqa: NPY002 - the fault


class KeepsStateOverReset(Good):
    """Keeps state over a reset."""

    wear = 1.0

    def move(self, push: float) -> None:
        self.wear *= 0.999
        super().move(push * self.wear)


class SameInitialState(Good):
    """Has the same initial state for every seed."""

    def initial_position(self) -> float:
        return 0.5


class OldStep(Good):
    """step has the older form with one `done`."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.count >= MAX_EPISODE_STEPS, info


class OldReset(Good):
    """reset has the older form."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()[0]


class NeverEnds(Good):
    """No time limit, and no episode ends."""


class UnboundedActions(Good):
    """The action space has no bounds."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class MultiDiscreteActions(Good):
    """A MultiDiscrete action space."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.MultiDiscrete([3, 2])


class NoActions(Good):
    """The action space has no dimensions."""

    def __init__(self, render_mode=None) -> None:
        super().__init__(render_mode)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (0,), np.float32)

    def push(self, action):
        return 0.0


class RaisesInNumpy(Good):
    """Draws from an empty range, which numpy refuses in compiled code."""

    def step(self, action):
        if self.count == 5:
            self.np_random.integers(5, 3)
        return super().step(action)


class NoInfoDict(Good):
    """The info is not a dict."""

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, [])


class InfoIsNone(Good):
    """The info is None."""

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, None)


class CloseFails(Good):
    """`close` raises."""

    def close(self):
        raise RuntimeError("no window to close")


class WrongTypes(Good):
    """The reward is an array, the termination flags are integers, and the success is a string."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, np.array([reward]), 0, 0, {**info, "is_success": "yes"}


class InfiniteReward(Good):
    """The reward is infinite in step 9."""

    def reward(self) -> Any:
        return np.inf if self.count == 9 else 0.5
