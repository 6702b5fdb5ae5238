"""Hindsight relabeling: goals reached later in the episode replace the desired goal of replayed transitions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError, one_line
from robossl.core.spaces import is_goal_space
from robossl.streams import Stream, Window

_logger = logging.getLogger(__name__)

GoalReward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # achieved, desired (B, G) -> (B,)
_ACHIEVED, _DESIRED = "achieved_goal", "desired_goal"
_MAX_STEPS_AHEAD = 50  # [steps] from the transition to the time step of the new goal


class HindsightRelabeler:
    """Relabels a fraction of sampled transitions (Andrychowicz et al., "Hindsight Experience Replay", 2017).

    The new goal is what the episode achieved at a time step drawn uniformly from the next 50 (the strategy "future"
    with a bound); the reward is the env's own `compute_reward` for it. `terminated` stays as recorded.
    """

    def __init__(self, stream: Stream, reward: GoalReward, fraction: float) -> None:
        """Relabel a `fraction` of the transitions, from 0 to 1."""
        self._stream, self._reward, self._fraction = stream, reward, fraction

    def relabel(self, window: Window, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
        """Return (observation [B, T+1, ...], reward [B, T]) of windows of T actions, some with another goal."""
        ahead = self._stream.steps_until_end(window.lane, window.start, _MAX_STEPS_AHEAD)  # (B,)
        chosen = np.flatnonzero((rng.random(len(ahead)) < self._fraction) & (ahead > 0))  # (C,)
        if len(chosen) == 0:
            return window.observation, window.reward
        later = window.start[chosen] + rng.integers(1, ahead[chosen] + 1)
        field = f"observation.{_ACHIEVED}"
        goal = self._stream.gather(window.lane[chosen], later, [field])[field]  # (C, G)
        desired, reward = np.array(window.observation[_DESIRED]), np.array(window.reward)
        desired[chosen] = goal[:, None]
        achieved = window.observation[_ACHIEVED][chosen, 1:]  # (C, T, G)
        goals = np.repeat(goal, achieved.shape[1], axis=0)  # (C T, G)
        reward[chosen] = self._reward(achieved.reshape(goals.shape), goals).reshape(reward[chosen].shape)
        return {**window.observation, _DESIRED: desired}, reward


def goal_reward(envs: VectorEnv) -> GoalReward | None:
    """Return the env's `compute_reward` for batches of goals; None if it has no goals or no such method."""
    if not is_goal_space(envs.single_observation_space):
        return None
    unwrapped = envs.unwrapped
    if not hasattr(unwrapped, "compute_reward"):
        sub_envs = getattr(unwrapped, "envs", None)
        if not sub_envs or not sub_envs[0].has_wrapper_attr("compute_reward"):
            return None
        compute = sub_envs[0].get_wrapper_attr("compute_reward")
    else:
        compute = unwrapped.compute_reward

    return _batched(compute, envs)


def _batched(compute: Callable[..., Any], envs: VectorEnv) -> GoalReward | None:
    """Return `compute_reward` for batches: as it is, or called for one goal at a time; None if it works for no goal.

    Both are tried here, before the first step.
    """
    space = envs.single_observation_space[_ACHIEVED]  # type: ignore[index]
    low, high = (
        getattr(space, name, None) for name in ("low", "high")
    )  # None of categories: any one will do
    first = getattr(space, "start", 0)
    goals = np.stack(
        [np.clip(np.full(space.shape or (), first + i, space.dtype), low, high) for i in range(3)]
    )

    def by_batch(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        values = np.asarray(compute(achieved, desired, {}), np.float32)
        if values.size != len(achieved):
            raise UsageError(
                f"compute_reward of {envs}: expected {len(achieved)} rewards for as many goals, got {values.size}; "
                "make it accept batches, or set hindsight to 0"
            )
        return values.reshape(len(achieved))

    def one_by_one(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        return np.array([float(compute(a, d, {})) for a, d in zip(achieved, desired)], np.float32)

    errors = []
    results = {}
    for reward in (by_batch, one_by_one):
        try:
            results[reward] = reward(goals, goals[::-1])
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            errors.append(error)
    if not results:
        _logger.warning(
            "compute_reward of %s raised %s: %s for one goal; goals are not relabeled (hindsight)",
            envs, type(errors[-1]).__name__, one_line(errors[-1]),
        )  # fmt: skip
        return None
    if by_batch in results and one_by_one in results:
        return by_batch if np.allclose(results[by_batch], results[one_by_one]) else one_by_one
    return by_batch if by_batch in results else one_by_one
