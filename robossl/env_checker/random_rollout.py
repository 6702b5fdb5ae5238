"""Random rollout of the env under test, recorded as returned: most checks read it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robossl.env_checker.env_under_test import EnvCallError, EnvUnderTest

_MAX_EPISODE_STEPS = 100  # a longer episode is cut here by a reset
_MAX_SEARCHED_STEPS = 3000  # in search of the end of an episode
_MAX_BYTES = 64 * 1024**2  # of recorded observations


@dataclass
class StepRecord:
    """What one call of reset or step returned."""

    episode: int
    step: int  # in the episode; 0 is the reset
    returned: Any  # the observation, the object that the env returned
    observation: Any  # a copy, made before the next call
    reward: Any = None
    terminated: Any = False
    truncated: Any = False
    info: dict[str, Any] = field(default_factory=dict)
    action_mutated: bool = False  # the env wrote into its action argument

    @property
    def name(self) -> str:
        """Name of the call, as in `step 7 of episode 0`."""
        call = f"step {self.step}" if self.step else "the reset"
        return f"{call} of episode {self.episode}"


@dataclass
class Rollout:
    """Records in order, and the error that ended the rollout early."""

    records: list[StepRecord]
    error: EnvCallError | None = None

    @property
    def steps(self) -> list[StepRecord]:
        """The records of steps, without those of resets."""
        return [record for record in self.records if record.step]

    def endings(self) -> list[StepRecord]:
        """Return the last records of the episodes that terminated or were truncated."""
        return [record for record in self.steps if np.any(record.terminated) or np.any(record.truncated)]


def random_rollout(
    target: EnvUnderTest, env: gym.Env, num_steps: int, seed: int, action_seed: int = 0, seconds: float = 5.0
) -> Rollout:
    """Step an env with random actions, and with the lowest and the highest action of a Box.

    Args:
        target: The env under test.
        env: Made by `target`.
        num_steps: Steps, if no error ends the rollout.
        seed: Of the first reset.
        action_seed: Of the actions.
        seconds: Time limit of the rollout [s].
    """
    records: list[StepRecord] = []
    try:
        for record in _records(target, env, num_steps, seed, action_seed, time.monotonic() + seconds):
            records.append(record)
    except EnvCallError as error:
        return Rollout(records, error)
    return Rollout(records)


def episode_end(target: EnvUnderTest) -> int | None:
    """Return the step at which the first episode of a new env ends by itself under random actions.

    None if it does not end within 3,000 steps or half of the time limit of a call.
    """
    env = target.make()
    target.reset(env, 0)
    actions = _actions(env.action_space, 0)
    deadline = time.monotonic() + target.monitor.seconds / 2
    for step in range(1, _MAX_SEARCHED_STEPS + 1):
        _, _, terminated, truncated, _ = target.step(env, next(actions))
        if np.any(terminated) or np.any(truncated):
            target.close(env)
            return step
        if time.monotonic() > deadline:
            break
    return None


def _records(
    target: EnvUnderTest, env: gym.Env, num_steps: int, seed: int, action_seed: int, deadline: float
) -> Iterator[StepRecord]:
    episode, step, free_bytes = 0, 0, _MAX_BYTES
    actions = _actions(env.action_space, action_seed)
    observation, info = target.reset(env, seed)
    yield StepRecord(0, 0, observation, copy.deepcopy(observation), info=_as_dict(info))
    for _ in range(num_steps):
        if time.monotonic() > deadline or free_bytes < 0:
            return
        step += 1
        action = next(actions)
        argument = copy.deepcopy(action)
        observation, reward, terminated, truncated, info = target.step(env, argument)
        copied = copy.deepcopy(observation)
        free_bytes -= 2 * _num_bytes(copied)
        mutated = not _equal(action, argument)
        endings, reward = (terminated, truncated), copy.deepcopy(reward)
        yield StepRecord(episode, step, observation, copied, reward, *endings, _as_dict(info), mutated)
        if np.any(terminated) or np.any(truncated) or step >= _MAX_EPISODE_STEPS:
            episode, step = episode + 1, 0
            observation, info = target.reset(env)
            yield StepRecord(episode, 0, observation, copy.deepcopy(observation), info=_as_dict(info))


def _actions(space: gym.Space, seed: int) -> Iterator[Any]:
    """Yield the lowest and the highest action of a bounded Box, then random ones without end."""
    space = copy.deepcopy(space)
    space.seed(seed)
    if isinstance(space, spaces.Box) and space.is_bounded("both"):
        yield from (space.low.copy(), space.high.copy())
    while True:
        yield space.sample()


def _equal(value: Any, other: Any) -> bool:
    """Return whether two actions are the same, also nested ones."""
    if isinstance(value, dict):
        return all(_equal(part, other[key]) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return len(value) == len(other) and all(map(_equal, value, other))
    return np.array_equal(np.asarray(value), np.asarray(other))


def _num_bytes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_num_bytes(part) for part in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_num_bytes(part) for part in value)
    return int(getattr(value, "nbytes", 64))


def _as_dict(info: Any) -> dict[str, Any]:
    return dict(info) if isinstance(info, dict) else {}
