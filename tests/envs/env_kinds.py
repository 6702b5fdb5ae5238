"""Small envs, each with one habit of public packages; registered as habits/NAME-v0."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class Push(gym.Env):
    """A point in 2-D that is pushed; `limit` steps an episode."""

    observation_space: spaces.Space = BOX
    action_space: spaces.Space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode: str | None = None, limit: int = 20) -> None:
        self.render_mode, self.limit = render_mode, limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(size=2), 0
        return self.observe(), self.info()

    def observe(self) -> Any:
        return np.array([*self.x, self.t], np.float32)

    def info(self) -> dict[str, Any]:
        return {}

    def reward(self) -> Any:
        return -float(np.linalg.norm(self.x))

    def move(self, action: Any) -> None:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"

    def step(self, action: Any) -> tuple:
        self.move(action)
        self.x, self.t = self.x + 0.1, self.t + 1
        return self.observe(), self.reward(), False, self.t >= self.limit, self.info()


class Sized(Push):
    """What is observed depends on an argument of the constructor."""

    def __init__(self, size: int = 3, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def observe(self) -> Any:
        return np.resize(super().observe(), self.observation_space.shape)


class Mission(Push):
    """A part of the observation is text."""

    observation_space = spaces.Dict(
        arm=spaces.Dict(q=BOX), mission=spaces.Text(20), clock=spaces.Discrete(100)
    )

    def observe(self) -> Any:
        return {"arm": {"q": super().observe()}, "mission": "go there", "clock": self.t}


class AtTimes(Push):
    """Every tenth step of an episode returns the number `what`, as observation or as reward."""

    def __init__(self, what: float = np.nan, where: str = "observation", every: int = 10) -> None:
        super().__init__()
        self.what, self.where, self.every = what, where, every

    def observe(self) -> Any:
        observation = super().observe().astype(np.float64)
        if self.where == "observation" and self.t and self.t % self.every == 0:
            observation[1] = self.what
        return observation

    def reward(self) -> Any:
        return self.what if self.where == "reward" and self.t % self.every == 0 else 1.0


class Infos(Push):
    """Infos that cannot be merged over sub-environments, and success under its other name."""

    def info(self) -> dict[str, Any]:
        return {
            "success": self.t >= 5,
            "cost": 0.25 * self.t if self.t % 2 else 0,
            "stage": "begin" if self.t == 0 else self.t,
            "contacts": np.arange(self.t % 3),
            "nested": {"deep": self.t} if self.t % 4 else None,
            "object": object(),
        }


def vector(num_envs: int = 1, **arguments: Any) -> gym.vector.VectorEnv:
    """A batch, as its own vector entry point makes it."""
    return gym.vector.SyncVectorEnv([lambda: Push(**arguments)] * num_envs)


def register_kinds() -> None:
    """Register the envs; a second call changes nothing."""
    for kind in (Push, Sized, Mission, AtTimes, Infos):
        if f"habits/{kind.__name__}-v0" not in gym.registry:
            gym.register(f"habits/{kind.__name__}-v0", entry_point=f"{__name__}:{kind.__name__}")
    if "habits/Vector-v0" not in gym.registry:
        gym.register("habits/Vector-v0", vector_entry_point=f"{__name__}:vector")


register_kinds()
