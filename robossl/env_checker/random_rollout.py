"""A stretch of life in an environment, recorded as it came: what every other finding is read from."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robossl.env_checker.call_monitor import EnvCallError
from robossl.env_checker.env_under_test import EnvUnderTest

_EPISODE = 100  # [steps] after which an episode that does not end is left
_ROOM = 64 * 1024**2  # [bytes] of observations kept


@dataclass
class StepRecord:
    """What one call brought; the first of an episode comes from reset."""

    episode: int
    step: int  # in the episode; 0 is the reset
    returned: Any  # the observation as the env handed it over
    observation: Any  # what it was at that time
    reward: Any = None
    terminated: Any = False
    truncated: Any = False
    info: dict[str, Any] = field(default_factory=dict)
    action_changed: bool = False  # the env wrote over the action it was given

    @property
    def name(self) -> str:
        """Where in life this is."""
        at = f"step {self.step}" if self.step else "the reset"
        return f"{at} of episode {self.episode}"


@dataclass
class Rollout:
    """Moments in order, and what ended the life before its time."""

    moments: list[StepRecord]
    fault: EnvCallError | None = None

    @property
    def steps(self) -> list[StepRecord]:
        """The moments that a step brought."""
        return [moment for moment in self.moments if moment.step]

    def endings(self) -> list[StepRecord]:
        """The last moments of the episodes that ended by themselves."""
        return [moment for moment in self.steps if _true(moment.terminated) or _true(moment.truncated)]


def _true(flag: Any) -> bool:
    return bool(np.any(flag))


def random_rollout(
    case: EnvUnderTest, env: gym.Env, steps: int, seed: int, action_seed: int = 0, seconds: float = 5.0
) -> Rollout:
    """Random actions for `steps` steps, at most `seconds`; of a Box also its lowest and highest action.

    The same `seed` and `action_seed` have to bring the same life. A fault ends it and is kept.
    """
    moments: list[StepRecord] = []
    try:
        for moment in _moments(case, env, steps, seed, action_seed, time.monotonic() + seconds):
            moments.append(moment)
    except EnvCallError as fault:
        return Rollout(moments, fault)
    return Rollout(moments)


def _moments(case: EnvUnderTest, env: gym.Env, steps: int, seed: int, action_seed: int, end: float) -> Any:
    episode, step, room = 0, 0, _ROOM
    actions = _actions(env.action_space, action_seed)
    observation, info = case.reset(env, seed)
    yield StepRecord(0, 0, observation, copy.deepcopy(observation), info=_info(info))
    for _ in range(steps):
        if time.monotonic() > end or room < 0:
            return
        step += 1
        action = next(actions)
        given = copy.deepcopy(action)
        observation, reward, terminated, truncated, info = case.step(env, given)
        kept = copy.deepcopy(observation)
        room -= 2 * _bytes(kept)
        changed = not np.array_equal(np.asarray(action), np.asarray(given))
        yield StepRecord(
            episode,
            step,
            observation,
            kept,
            copy.deepcopy(reward),
            terminated,
            truncated,
            _info(info),
            changed,
        )
        if _true(terminated) or _true(truncated) or step >= _EPISODE:
            episode, step = episode + 1, 0
            observation, info = case.reset(env)  # as autoreset does
            yield StepRecord(episode, 0, observation, copy.deepcopy(observation), info=_info(info))


def _actions(space: gym.Space, seed: int) -> Any:
    """The corners of a bounded Box first, then random ones without end."""
    space = copy.deepcopy(space)
    space.seed(seed)
    if isinstance(space, spaces.Box) and space.is_bounded("both"):
        yield from (space.low.copy(), space.high.copy())
    while True:
        yield space.sample()


def _bytes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_bytes(part) for part in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_bytes(part) for part in value)
    return int(getattr(value, "nbytes", 64))


def _info(info: Any) -> dict[str, Any]:
    return dict(info) if isinstance(info, dict) else {}
