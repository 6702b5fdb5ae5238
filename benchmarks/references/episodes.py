"""Episodes of a controller on a native vector env: one episode per sub-environment, so that all count the same."""

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
from robossl.rollout import steps


class Controller(Protocol):
    """Computes the actions of all sub-environments; its state is reset where an episode begins."""

    def act(self, observation: Any) -> np.ndarray:
        """Return actions (n, A) in [-1, 1]."""
        ...

    def reset(self, mask: np.ndarray) -> None:
        """Reset the controller in the sub-environments of `mask` (n,) bool."""
        ...


ControllerFactory = Callable[[gym.vector.VectorEnv], Controller]


@dataclass(frozen=True)
class EpisodeResults:
    """Results of n episodes."""

    returns: np.ndarray  # (n,)
    success: np.ndarray  # (n,) bool at the last step


class ZeroActionController:
    """Returns zeros at every step."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self._action = np.zeros(envs.action_space.shape or ())

    def act(self, observation: Any) -> np.ndarray:
        """Return zeros (n, A)."""
        return self._action

    def reset(self, mask: np.ndarray) -> None:
        """Keep no state."""


class RandomController(ZeroActionController):
    """Returns actions uniform in [-1, 1]."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__(envs)
        self._random = generator(0, "references", "random")

    def act(self, observation: Any) -> np.ndarray:
        """Return random actions (n, A)."""
        return self._random.uniform(-1, 1, self._action.shape)


class _ControllerPolicy:
    """Adapter from `Controller` to the `Policy` protocol."""

    def __init__(self, controller: Controller, num_envs: int) -> None:
        self._controller, self._num_envs = controller, num_envs

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        return self._controller.act(observation)

    def reset(self, mask: np.ndarray | None = None) -> None:
        self._controller.reset(np.ones(self._num_envs, bool) if mask is None else mask)


def load_references() -> dict[str, ControllerFactory]:
    """Return the REFERENCES of all modules of this folder, by task name."""
    references: dict[str, ControllerFactory] = {}
    package = importlib.import_module(__package__)
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        if not module.startswith("_"):
            references |= getattr(importlib.import_module(f"{__package__}.{module}"), "REFERENCES", {})
    return references


def find_reference(task: str) -> ControllerFactory:
    """Return the reference of a task.

    Raises:
        UsageError: The task has no reference; the message lists similar names.
    """
    references = load_references()
    if task not in references:
        raise unknown_name_error("reference", task, references)
    return references[task]


def run_episodes(
    task: str, factory: ControllerFactory, episodes: int, seed: int, nthread: int = 0
) -> EpisodeResults:
    """Run one episode in each of `episodes` sub-environments; the initial states depend on `seed` and task only."""
    if episodes < 1:
        raise UsageError(f"expected 1 or more episodes, got {episodes}")
    envs = gym.make_vec(f"robossl/{task}-v0", num_envs=episodes, nthread=nthread, autoreset_mode="Disabled")
    observation, infos = envs.reset(seed=derive(seed, "references", task) % 2**31)
    running = np.ones(episodes, bool)
    returns, success = np.zeros(episodes), infos["is_success"].copy()
    for step in steps(envs, _ControllerPolicy(factory(envs), episodes), observation):
        returns += step.reward * running
        if step.success is not None:
            success[running] = step.success[running]
        running &= ~step.done  # later episodes of a sub-environment do not count
        if not running.any():
            break
    envs.close()
    return EpisodeResults(returns, success)
