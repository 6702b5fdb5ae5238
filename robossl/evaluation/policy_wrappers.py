"""Policies around policies of an evaluation: the zero action, a clock, and a guard against non-finite observations."""

from __future__ import annotations

import time

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Action, Observation, Policy
from robossl.core.spaces import flatten_by_path


class ZeroActionPolicy:
    """Policy that always returns the zero action."""

    def __init__(self, envs: VectorEnv) -> None:
        self._action = np.zeros_like(envs.action_space.sample())

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return zeros (n, A)."""
        return self._action

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Have no effect; the policy has no state."""


class TimedPolicy:
    """Policy that measures the time of its decisions."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seconds, self._decisions = 0.0, 0

    @property
    def milliseconds(self) -> float:
        """Time of one decision of one sub-environment [ms]; all sub-environments decide together."""
        return 1000 * self._seconds / max(self._decisions, 1)

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return the actions of the policy."""
        start = time.perf_counter()
        action = self._policy.act(observation, explore=explore)
        self._seconds += time.perf_counter() - start
        self._decisions += len(action)
        return action

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""
        self._policy.reset(mask)


class FiniteObservationGuard:
    """Policy that raises UsageError for observations with nan or infinity."""

    def __init__(self, policy: Policy, envs: VectorEnv) -> None:
        self._policy, self._space = policy, envs.single_observation_space

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return the actions of the policy."""
        for path, values in flatten_by_path(self._space, observation).items():
            invalid = np.argwhere(~np.isfinite(values))
            if len(invalid):
                raise UsageError(
                    f"expected finite observations, got nan or infinity in {path or 'observation'} of "
                    f"sub-environment {invalid[0][0]}"
                )
        return self._policy.act(observation, explore=explore)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""
        self._policy.reset(mask)
