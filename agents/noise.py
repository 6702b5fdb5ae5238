"""Policies that know nothing: random, coloured noise, nothing at all. They explore, and every table shows them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import format_space

from .shared.action_range import action_range
from .shared.colored_noise import colored_noise

_COLOURS = (0.0, 0.5, 1.0, 2.0)  # exponent b of the power spectrum 1 / f^b: white to red
_LENGTH = 256  # [steps] of noise drawn at once; a longer episode gets another piece
_HOLD = 16  # [steps] the longest that a discrete action is held


class _OpenLoopPolicy:
    """A policy that looks at nothing. Every lane has a generator of its own: its life does not depend on n."""

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """`action_space` is that of a single lane: a Box of floats, or Discrete."""
        self._discrete = isinstance(action_space, gym.spaces.Discrete)
        if not self._discrete and not (
            isinstance(action_space, gym.spaces.Box) and np.issubdtype(action_space.dtype, np.floating)
        ):
            raise UsageError(
                f"a policy needs actions of a float Box or Discrete; got {format_space(action_space)}"
            )
        self.space: Any = action_space
        self.num_envs = num_envs
        self._random = [generator(seed, "policy", lane) for lane in range(num_envs)]

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Nothing to forget."""

    def _box(self, action: np.ndarray) -> np.ndarray:
        """Actions (n, *A) as the space has them: rounded to its dtype, and within its bounds after that."""
        return np.clip(action.astype(self.space.dtype), self.space.low, self.space.high)

    def get_checkpoint(self) -> dict[str, Any]:
        """The generators of all lanes."""
        return {"random": [generator_state(random) for random in self._random]}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was; `RequestError` where that had another number of lanes."""
        if len(tree["random"]) != self.num_envs:
            raise UsageError(f"the checkpoint has {len(tree['random'])} lanes; here are {self.num_envs}")
        for random, state in zip(self._random, tree["random"]):
            restore_generator(random, state)


class RandomPolicy(_OpenLoopPolicy):
    """Every action uniform over its range, independent of the last."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, *A) of the space's dtype, or (n,) int64."""
        if self._discrete:
            start, count = int(self.space.start), int(self.space.n)
            return np.array([start + random.integers(count) for random in self._random], np.int64)
        low, high = action_range(self.space)
        drawn = np.stack([random.random(self.space.shape) for random in self._random])
        return self._box(low + (high - low) * drawn)


class ZeroPolicy(_OpenLoopPolicy):
    """Does nothing: zero, or what of the range lies nearest to it; the first of discrete actions."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, *A) of the space's dtype, or (n,) int64."""
        if self._discrete:
            return np.full(self.num_envs, int(self.space.start), np.int64)
        return self._box(np.zeros((self.num_envs, *self.space.shape)))


class ColoredNoisePolicy(_OpenLoopPolicy):
    """Coloured noise: each episode of a lane has a colour of its own, from white to red.

    Noise with power 1 / f^b, b drawn from {0, 0.5, 1, 2}, scaled to a standard deviation of half the range
    and clipped to it (Eberhard et al., "Pink Noise Is All You Need", 2023). Discrete actions are drawn
    uniformly and held for n steps, n ~ zeta(2) up to 16. Pieces are 256 steps long: in longer ones the red
    noise of an episode of 200 steps would hardly leave one side of the range.
    """

    _STATE = ("_colour", "_position", "_noise", "_held", "_left")

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """As of every policy here."""
        super().__init__(action_space, num_envs, seed)
        length, width = (0, 0) if self._discrete else (_LENGTH, int(np.prod(action_space.shape or ())))
        self._colour = np.zeros(num_envs)
        self._position = np.full(num_envs, -1, np.int64)  # (n,) in the lane's piece; -1: none drawn yet
        self._noise = np.zeros((num_envs, length, width), np.float32)
        self._held = np.zeros(num_envs, np.int64)  # (n,) the discrete action being held
        self._left = np.zeros(num_envs, np.int64)  # (n,) for how many more steps

    def reset(self, mask: np.ndarray | None = None) -> None:
        """A new colour, and new noise, for the lanes of `mask` (n,) bool; for all without one."""
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        self._position[chosen] = -1
        self._left[chosen] = 0

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, *A) of the space's dtype, or (n,) int64."""
        if self._discrete:
            return self._hold()
        for lane in np.flatnonzero((self._position < 0) | (self._position >= _LENGTH)):
            random = self._random[lane]
            if self._position[lane] < 0:
                self._colour[lane] = random.choice(_COLOURS)
            white = random.standard_normal(self._noise.shape[1:], np.float32)
            self._noise[lane] = colored_noise(white, self._colour[lane])
            self._position[lane] = 0
        drawn = self._noise[np.arange(self.num_envs), self._position]  # (n, A) unit variance
        self._position += 1
        low, high = action_range(self.space)
        middle, half = (low + high) / 2, (high - low) / 2
        return self._box(np.clip(middle + drawn.reshape(-1, *self.space.shape) * half, low, high))

    def _hold(self) -> np.ndarray:
        """(n,) int64: the actions being held, and new ones where the time is over."""
        for lane in np.flatnonzero(self._left <= 0):
            random = self._random[lane]
            self._held[lane] = int(self.space.start) + random.integers(int(self.space.n))
            self._left[lane] = min(int(random.zipf(2.0)), _HOLD)
        self._left -= 1
        return self._held.copy()

    def get_checkpoint(self) -> dict[str, Any]:
        """Generators, and the noise that is not yet used up."""
        return super().get_checkpoint() | {name: getattr(self, name).copy() for name in self._STATE}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        super().set_checkpoint(tree)
        for name in self._STATE:
            getattr(self, name)[...] = tree[name]


POLICIES = {"random": RandomPolicy, "colored_noise": ColoredNoisePolicy, "zero": ZeroPolicy}
