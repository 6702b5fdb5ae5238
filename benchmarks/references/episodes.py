"""Episodes of a controller on a native vector env: one a lane, so that short ones count no more than long ones."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.seeding import derive, generator


class Controller(Protocol):
    """Acts for all lanes; what it plans or remembers is begun anew where an episode begins."""

    def act(self, observation: Any) -> np.ndarray:
        """(n, A) in [-1, 1]."""
        ...

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin in the lanes of `mask` (n,) bool."""
        ...


Make = Callable[[gym.vector.VectorEnv], Controller]


@dataclass(frozen=True)
class Episodes:
    """What came of n episodes."""

    returns: np.ndarray  # (n,)
    succeeded: np.ndarray  # (n,) bool: the wish was fulfilled at the last step


class DoNothing:
    """Zeros, whatever comes."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._action = np.zeros(envs.action_space.shape or ())

    def act(self, observation: Any) -> np.ndarray:
        """(n, A) of zeros."""
        return self._action

    def reset(self, mask: np.ndarray) -> None:
        """There is nothing to remember."""


class AtRandom(DoNothing):
    """Every number drawn evenly from [-1, 1] at every step."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._random = generator(0, "references", "random")

    def act(self, observation: Any) -> np.ndarray:
        """(n, A)."""
        return self._random.uniform(-1, 1, self._action.shape)


def references() -> dict[str, Make]:
    """By the name of the task, from every module of this folder that has REFERENCES."""
    found: dict[str, Make] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(__package__).__path__)):
        if not module.startswith("_"):
            found |= getattr(importlib.import_module(f"{__package__}.{module}"), "REFERENCES", {})
    return found


def reference(task: str) -> Make:
    """The reference of a task; `RequestError` with the near names where there is none."""
    known = references()
    if task not in known:
        raise unknown_name_error("reference", task, known)
    return known[task]


def play(task: str, make: Make, episodes: int, seed: int, nthread: int = 0) -> Episodes:
    """One episode in each of `episodes` lanes of a task, all from the same seeds for the same `seed`."""
    if episodes < 1:
        raise UsageError(f"{episodes} episodes given; expected 1 or more")
    envs = gym.make_vec(f"robossl/{task}-v0", num_envs=episodes, nthread=nthread, autoreset_mode="Disabled")
    observation, infos = envs.reset(seed=derive(seed, "references", task) % 2**31)
    controller = make(envs)
    running = np.ones(episodes, bool)
    controller.reset(running)
    returns, succeeded = np.zeros(episodes), infos["is_success"].copy()
    while running.any():
        observation, reward, terminated, truncated, infos = envs.step(controller.act(observation))
        returns += reward * running
        succeeded[running] = infos["is_success"][running]
        over = terminated | truncated
        running &= ~over
        if (
            over.any() and running.any()
        ):  # a lane that has ended waits for the others in a life that does not count
            observation, _ = envs.reset(options={"reset_mask": over})
            controller.reset(over)
    envs.close()
    return Episodes(returns, succeeded)
