"""Episode lengths of the sub-environments of a vector env: time limit and pending resets."""

from __future__ import annotations

import math

import numpy as np

from robossl.core.limits import check_count


class EpisodeClock:
    """Counts the control steps of each episode and marks the episodes that have ended.

    Args:
        num_envs: Number of sub-environments n.
        max_episode_steps: Time limit [control steps]; None, 0 or -1 for no limit.

    Raises:
        UsageError: The limit is no such number.
    """

    def __init__(self, num_envs: int, max_episode_steps: int | None) -> None:
        limit = max_episode_steps or 0
        check_count("max_episode_steps", limit, -1)
        self._limit: float = limit if limit > 0 else math.inf
        self._steps = 0  # of the vector env
        self._start_steps = np.zeros(num_envs, np.int64)  # (n,) `_steps` at the start of each episode
        self._first_limit = self._limit  # no episode reaches the limit before `_steps` has this value
        # (n,) the episode has ended and the sub-environment needs a reset
        self.ended = np.zeros(num_envs, bool)

    def start(self, mask: np.ndarray, elapsed: int | np.ndarray = 0) -> None:
        """Start episodes in the sub-environments of `mask`, or continue them after `elapsed` steps.

        Args:
            mask: (n,) bool, or indices (m,).
            elapsed: Steps of these episodes so far, a number or (m,).
        """
        self._start_steps[mask] = self._steps - elapsed
        self._first_limit = int(self._start_steps.min()) + self._limit
        self.ended = self.ended.copy()  # the caller may still use the mask of the current step
        self.ended[mask] = False

    def step(self, terminated: np.ndarray, physics_error: np.ndarray) -> np.ndarray:
        """Count one control step; return truncations (n,) bool: time limit reached, or physics error."""
        self._steps += 1
        truncated = physics_error.copy()
        if self._steps >= self._first_limit:
            truncated |= self._steps - self._start_steps >= self._limit
        self.ended = terminated | truncated
        return truncated

    def elapsed(self) -> np.ndarray:
        """Return the steps (n,) of each episode so far."""
        return self._steps - self._start_steps
