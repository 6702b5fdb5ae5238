"""OraclePlanner: cross-entropy search in the true simulator, with the true reward.

It bounds what planning can reach with a perfect model. The search is iCEM (Pinneri et al., 2020) over a short horizon,
without a value of what follows, so a learned policy may still be better.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, PhysicsStateEnv
from robossl.core.seeding import derive, generator

_DESIRED = "desired_goal"
_CORRELATION = 0.7  # of the noise between successive steps


class OraclePlanner:
    """Policy that tries action sequences in copies of its envs and acts out the best one."""

    def __init__(
        self, envs: VectorEnv, threads: int = 1, seed: int = 0, samples: int = 32, iterations: int = 1,
        elites: int = 6, horizon: int = 20, replan_every: int = 3, init_std: float = 0.6,
    ) -> None:  # fmt: skip
        """Make the copies.

        Args:
            envs: Envs that implement `PhysicsStateEnv`.
            threads: CPU threads of the copies.
            seed: Seed of the search.
            samples: Action sequences of each sub-environment in an iteration.
            iterations: Iterations of the search.
            elites: Best sequences, to which the next distribution is fitted.
            horizon: Steps of a sequence.
            replan_every: Steps that are acted out before the next search.
            init_std: Standard deviation of the first iteration, in units of half the action range.

        Raises:
            UsageError: The envs cannot be set to states, or their actions are no Box.
        """
        space = envs.single_action_space
        if not isinstance(envs.unwrapped, PhysicsStateEnv) or not isinstance(space, spaces.Box):
            raise UsageError("an oracle needs envs that can be set to states, with Box actions")
        self._envs, self._num_envs, self._samples = envs, envs.num_envs, samples
        self._iterations, self._elites, self._replan_every = iterations, elites, replan_every
        self._center, self._half = (space.high + space.low) / 2, (space.high - space.low) / 2
        self._shape, self._init_std = (horizon, *space.shape), init_std
        self._copies = registry.make_envs(registry.env_name(envs), self._num_envs * samples, threads=threads)
        self._copies.reset(seed=derive(seed, "oracle copies") % 2**31)
        self._random = generator(seed, "oracle planner")
        self._mean = np.zeros((self._num_envs, *self._shape))
        self._age = 0  # [steps] since the last search

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the plans of `mask` (n,) bool; all sub-environments search again at the next step."""
        self._mean[slice(None) if mask is None else mask] = 0.0
        self._shift()

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return the next actions (n, A) of the plans."""
        if self._age % self._replan_every == 0:
            self._shift()
            self._search(observation)
        action = self._mean[:, self._age]
        self._age += 1
        space = cast(spaces.Box, self._envs.single_action_space)
        return np.clip((self._center + self._half * action).astype(space.dtype), space.low, space.high)

    def _shift(self) -> None:
        """Drop the actions that were acted out, and repeat the last one."""
        if self._age:
            self._mean = np.concatenate(
                [self._mean[:, self._age :], np.repeat(self._mean[:, -1:], self._age, 1)], 1
            )
        self._age = 0

    def _search(self, observation: Observation) -> None:
        """Fit the mean to the best action sequences from the current states."""
        physics = cast(PhysicsStateEnv, self._envs.unwrapped).get_physics_state()
        goal = observation[_DESIRED] if isinstance(observation, dict) and _DESIRED in observation else None
        std = np.full(self._mean.shape, self._init_std)
        for _ in range(self._iterations):
            plans = self._mean[:, None] + std[:, None] * self._noise()  # (n, S, H, A)
            plans[:, 0] = self._mean
            plans = np.clip(plans, -1, 1)
            scores = self._scores(physics, goal, plans)  # (n, S)
            best = np.argsort(-scores, axis=1, kind="stable")[:, : self._elites]
            chosen = np.take_along_axis(plans, best.reshape(*best.shape, *[1] * (plans.ndim - 2)), 1)
            self._mean, std = chosen.mean(1), chosen.std(1)
        top = np.argmax(scores, axis=1)
        self._mean = plans[np.arange(self._num_envs), top]

    def _noise(self) -> np.ndarray:
        """Return standard normal noise (n, S, H, A) that is correlated in time."""
        white = self._random.standard_normal((self._num_envs, self._samples, *self._shape))
        for step in range(1, self._shape[0]):
            white[:, :, step] = (
                _CORRELATION * white[:, :, step - 1] + (1 - _CORRELATION**2) ** 0.5 * white[:, :, step]
            )
        return white

    def _scores(self, physics: np.ndarray, goal: np.ndarray | None, plans: np.ndarray) -> np.ndarray:
        """Return the sums of rewards (n, S) of action sequences (n, S, H, A) from physics states (n, P)."""
        copies: Any = self._copies
        repeated = np.repeat(physics, self._samples, 0)
        copies.reset()
        copies.unwrapped.set_physics_state(
            repeated, goal=None if goal is None else np.repeat(goal, self._samples, 0)
        )
        total, running = np.zeros(len(repeated)), np.ones(len(repeated), bool)
        actions = self._center + self._half * plans.reshape(-1, *self._shape)
        for step in range(self._shape[0]):
            _, reward, terminated, truncated, _ = copies.step(actions[:, step].astype(np.float32))
            total += np.where(running, reward, 0.0)
            running &= ~(terminated | truncated)
        return total.reshape(self._num_envs, self._samples)
