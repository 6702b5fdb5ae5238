"""Open-loop policies for exploration and as baselines: uniform random, zero action, colored noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import format_space

from .shared.action_range import action_range
from .shared.colored_noise import colored_noise

_EXPONENTS = (0.0, 0.5, 1.0, 2.0)  # b of the power spectrum 1 / f^b: white to red
_NOISE_STEPS = 256  # [steps] of noise drawn at once; a longer episode draws another piece
_MAX_REPEAT = 16  # [steps] the longest repetition of a discrete action


class _OpenLoopPolicy:
    """Base class of policies that ignore the observation.

    Each sub-environment has its own random generator, so its actions do not depend on `num_envs`.
    """

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """Create the policy.

        Args:
            action_space: Action space of one sub-environment: a float Box or Discrete.
            num_envs: Number of sub-environments.
            seed: Seed of the random generators.

        Raises:
            UsageError: If the action space is neither a float Box nor Discrete.
        """
        self._discrete = isinstance(action_space, gym.spaces.Discrete)
        if not self._discrete and not (
            isinstance(action_space, gym.spaces.Box) and np.issubdtype(action_space.dtype, np.floating)
        ):
            raise UsageError(
                f"expected a float Box or Discrete action space, got {format_space(action_space)}"
            )
        self.space: Any = action_space
        self.num_envs = num_envs
        self._generators = [generator(seed, "policy", env_index) for env_index in range(num_envs)]

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes; this policy has no episode state."""

    def _to_space(self, action: np.ndarray) -> np.ndarray:
        """Return actions (n, *A) in the dtype of the space, clipped to its bounds after rounding."""
        return np.clip(action.astype(self.space.dtype), self.space.low, self.space.high)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the states of all random generators."""
        return {"generators": [generator_state(g) for g in self._generators]}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`; raise UsageError if it has another number of sub-environments."""
        if len(tree["generators"]) != self.num_envs:
            raise UsageError(
                f"expected a checkpoint of {self.num_envs} sub-environments, got {len(tree['generators'])}"
            )
        for rng, state in zip(self._generators, tree["generators"]):
            restore_generator(rng, state)


class RandomPolicy(_OpenLoopPolicy):
    """Independent uniform actions over the action range."""

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) in the dtype of the space, or (n,) int64."""
        if self._discrete:
            start, count = int(self.space.start), int(self.space.n)
            return np.array([start + g.integers(count) for g in self._generators], np.int64)
        low, high = action_range(self.space)
        uniform = np.stack([g.random(self.space.shape) for g in self._generators])
        return self._to_space(low + (high - low) * uniform)


class ZeroPolicy(_OpenLoopPolicy):
    """Zero actions (the nearest value in the action range), or the first discrete action."""

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) in the dtype of the space, or (n,) int64."""
        if self._discrete:
            return np.full(self.num_envs, int(self.space.start), np.int64)
        return self._to_space(np.zeros((self.num_envs, *self.space.shape)))


class ColoredNoisePolicy(_OpenLoopPolicy):
    """Colored noise; each episode of a sub-environment draws its own exponent, from white to red.

    The power falls as 1 / f^b with b drawn from {0, 0.5, 1, 2}. The noise has a standard deviation of half the
    action range and is clipped to the range (Eberhard et al., "Pink Noise Is All You Need", 2023). Discrete
    actions are drawn uniformly and repeated for n steps, n ~ zeta(2), at most 16. Noise is drawn in pieces of
    256 steps: in longer pieces the red noise of an episode of 200 steps would hardly leave one side of the range.
    """

    _STATE = ("_exponent", "_position", "_noise", "_repeated", "_steps_left")

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """Create the policy; arguments as in the base class."""
        super().__init__(action_space, num_envs, seed)
        length, width = (0, 0) if self._discrete else (_NOISE_STEPS, int(np.prod(action_space.shape or ())))
        self._exponent = np.zeros(num_envs)
        self._position = np.full(num_envs, -1, np.int64)  # (n,) in the current piece; -1: none drawn yet
        self._noise = np.zeros((num_envs, length, width), np.float32)
        self._repeated = np.zeros(num_envs, np.int64)  # (n,) the discrete action being repeated
        self._steps_left = np.zeros(num_envs, np.int64)  # (n,) for how many more steps

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Draw a new exponent and new noise in the sub-environments of `mask` (n,) bool, or in all."""
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        self._position[chosen] = -1
        self._steps_left[chosen] = 0

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) in the dtype of the space, or (n,) int64."""
        if self._discrete:
            return self._repeat_discrete()
        for env_index in np.flatnonzero((self._position < 0) | (self._position >= _NOISE_STEPS)):
            rng = self._generators[env_index]
            if self._position[env_index] < 0:
                self._exponent[env_index] = rng.choice(_EXPONENTS)
            white = rng.standard_normal(self._noise.shape[1:], np.float32)
            self._noise[env_index] = colored_noise(white, self._exponent[env_index])
            self._position[env_index] = 0
        noise = self._noise[np.arange(self.num_envs), self._position]  # (n, A) unit variance
        self._position += 1
        low, high = action_range(self.space)
        center, half_range = (low + high) / 2, (high - low) / 2
        return self._to_space(np.clip(center + noise.reshape(-1, *self.space.shape) * half_range, low, high))

    def _repeat_discrete(self) -> np.ndarray:
        """Return the repeated actions (n,) int64; draw new ones where the repetition is over."""
        for env_index in np.flatnonzero(self._steps_left <= 0):
            rng = self._generators[env_index]
            self._repeated[env_index] = int(self.space.start) + rng.integers(int(self.space.n))
            self._steps_left[env_index] = min(int(rng.zipf(2.0)), _MAX_REPEAT)
        self._steps_left -= 1
        return self._repeated.copy()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return generator states and the noise that is not used up."""
        return super().get_checkpoint() | {name[1:]: getattr(self, name).copy() for name in self._STATE}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        super().set_checkpoint(tree)
        for name in self._STATE:
            getattr(self, name)[...] = tree[name[1:]]


POLICIES = {"random": RandomPolicy, "colored_noise": ColoredNoisePolicy, "zero": ZeroPolicy}
