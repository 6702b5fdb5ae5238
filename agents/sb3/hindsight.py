"""Hindsight: what was reached later in the same episode stands in for the goal that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.spaces import is_goal_space
from robossl.streams import Stream, Window

GoalReward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # achieved, desired (B, G) -> (B,)
_ACHIEVED, _DESIRED = "achieved_goal", "desired_goal"
_REACH = 50  # [steps] how far ahead the goals that stand in are looked for


class HindsightRelabeler:
    """Relabels a share of sampled transitions (Andrychowicz et al., "Hindsight Experience Replay", 2017).

    The stand-in is what the episode achieved at a row drawn uniformly from the next 50, the "future"
    strategy with a bound; the reward is the env's own `compute_reward` for it. Whether the transition
    terminated stays as it was lived.
    """

    def __init__(self, stream: Stream, reward: GoalReward, share: float) -> None:
        """`share` of the transitions, from 0 to 1, is relabelled."""
        self._stream, self._reward, self._share = stream, reward, share

    def relabel(self, window: Window, random: np.random.Generator) -> tuple[Any, np.ndarray]:
        """(observation [B, 2, ...], reward [B, 1]) of windows of one action, some with another goal."""
        ahead = self._stream.ahead(window.lane, window.start, _REACH)  # (B,)
        chosen = np.flatnonzero((random.random(len(ahead)) < self._share) & (ahead > 0))  # (C,)
        if len(chosen) == 0:
            return window.observation, window.reward
        later = window.start[chosen] + random.integers(1, ahead[chosen] + 1)
        field = f"observation.{_ACHIEVED}"
        goal = self._stream.take(window.lane[chosen], later, [field])[field]  # (C, G)
        desired, reward = np.array(window.observation[_DESIRED]), np.array(window.reward)
        desired[chosen] = goal[:, None]
        reward[chosen, 0] = self._reward(window.observation[_ACHIEVED][chosen, 1], goal)
        return {**window.observation, _DESIRED: desired}, reward


def goal_reward(envs: Any) -> GoalReward | None:
    """The env's `compute_reward` for batches of goals; None where it has no goals or cannot say."""
    if not is_goal_space(envs.single_observation_space):
        return None
    inner = envs.unwrapped
    if not hasattr(inner, "compute_reward"):
        lanes = getattr(inner, "envs", None)
        if not lanes or not lanes[0].has_wrapper_attr("compute_reward"):
            return None
        compute = lanes[0].get_wrapper_attr("compute_reward")
    else:
        compute = inner.compute_reward

    def reward(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        found = np.asarray(compute(achieved, desired, {}), np.float32)
        if found.size != len(achieved):
            raise UsageError(
                f"compute_reward of {envs} gave {found.size} rewards for {len(achieved)} goals; "
                "hindsight needs one for each (or hindsight = 0)"
            )
        return found.reshape(len(achieved))

    return reward
