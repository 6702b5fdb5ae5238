"""Policies that know nothing: random, coloured noise, nothing at all. They explore, and every table shows them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core.errors import RequestError
from robossl.core.seeding import generator, generator_state, restore_generator

_COLOURS = (0.0, 0.5, 1.0, 2.0)  # exponent b of the power spectrum 1 / f^b: white to red
_LENGTH = 1024  # [steps] of noise drawn at once; a longer episode gets another piece
_HOLD = 16  # [steps] the longest that a discrete action is held


class _Blind:
    """A policy that looks at nothing. Every lane has a generator of its own: its life does not depend on n."""

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """`action_space` is that of a single lane: a Box, or Discrete."""
        if not isinstance(action_space, (gym.spaces.Box, gym.spaces.Discrete)):
            raise RequestError(f"a policy needs Box or Discrete actions; got {action_space}")
        self.space = action_space
        self.num_envs = num_envs
        self._random = [generator(seed, "policy", lane) for lane in range(num_envs)]

    @property
    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The range actions are drawn from, (A,) each; an infinite bound counts as 1."""
        assert isinstance(self.space, gym.spaces.Box)
        low, high = self.space.low.astype(np.float64), self.space.high.astype(np.float64)
        return np.where(np.isfinite(low), low, -1.0), np.where(np.isfinite(high), high, 1.0)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Nothing to forget."""

    def get_checkpoint(self) -> dict[str, Any]:
        """The generators of all lanes."""
        return {"random": [generator_state(random) for random in self._random]}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        for random, state in zip(self._random, tree["random"], strict=True):
            restore_generator(random, state)


class RandomPolicy(_Blind):
    """Every action uniform over its range, independent of the last."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, A) float32, or (n,) int64."""
        if isinstance(self.space, gym.spaces.Discrete):
            start, count = int(self.space.start), int(self.space.n)
            return np.array([start + r.integers(count) for r in self._random], np.int64)
        low, high = self._limits
        drawn = np.stack([r.random(self.space.shape) for r in self._random])
        return (low + (high - low) * drawn).astype(np.float32)


class ZeroPolicy(_Blind):
    """Does nothing: zero, or what of the range lies nearest to it; the first of discrete actions."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, A) float32, or (n,) int64."""
        if isinstance(self.space, gym.spaces.Discrete):
            return np.full(self.num_envs, int(self.space.start), np.int64)
        assert isinstance(self.space, gym.spaces.Box)
        zero = np.clip(np.zeros(self.space.shape), self.space.low, self.space.high).astype(np.float32)
        return np.repeat(zero[None], self.num_envs, 0)


class PinkPolicy(_Blind):
    """Coloured noise: each episode of a lane has a colour of its own, from white to red.

    Noise with power 1 / f^b, b drawn from {0, 0.5, 1, 2}, scaled to a standard deviation of half the range
    and clipped to it (Eberhard et al., "Pink Noise Is All You Need", 2023). Discrete actions are drawn
    uniformly and held for n steps, n ~ zeta(2) up to 16.
    """

    def __init__(self, action_space: gym.Space, num_envs: int, seed: int = 0) -> None:
        """As of every policy here."""
        super().__init__(action_space, num_envs, seed)
        self._discrete = isinstance(action_space, gym.spaces.Discrete)
        self._width = 1 if self._discrete else int(np.prod(action_space.shape or (1,)))
        self._colour = np.zeros(num_envs)
        self._position = np.full(num_envs, -1, np.int64)  # (n,) in the lane's piece; -1: none drawn yet
        self._noise = np.zeros((num_envs, 0 if self._discrete else _LENGTH, self._width), np.float32)
        self._held = np.zeros(num_envs, np.int64)  # (n,) the discrete action being held
        self._left = np.zeros(num_envs, np.int64)  # (n,) for how many more steps

    def reset(self, mask: np.ndarray | None = None) -> None:
        """A new colour, and new noise, for the lanes of `mask`."""
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        self._position[chosen] = -1
        self._left[chosen] = 0

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, A) float32, or (n,) int64."""
        if self._discrete:
            return self._hold()
        for lane in np.flatnonzero((self._position < 0) | (self._position >= _LENGTH)):
            random = self._random[lane]
            if self._position[lane] < 0:
                self._colour[lane] = random.choice(_COLOURS)
            self._noise[lane] = coloured(random, _LENGTH, self._width, self._colour[lane])
            self._position[lane] = 0
        drawn = self._noise[np.arange(self.num_envs), self._position]  # (n, A) unit variance
        self._position += 1
        low, high = self._limits
        shape = (self.num_envs, *(self.space.shape or ()))
        action = (low + high) / 2 + drawn.reshape(shape) * (high - low) / 2
        return np.clip(action, low, high).astype(np.float32)

    def _hold(self) -> np.ndarray:
        assert isinstance(self.space, gym.spaces.Discrete)
        for lane in np.flatnonzero(self._left <= 0):
            random = self._random[lane]
            self._held[lane] = int(self.space.start) + random.integers(int(self.space.n))
            self._left[lane] = min(int(random.zipf(2.0)), _HOLD)
        self._left -= 1
        return self._held.copy()

    def get_checkpoint(self) -> dict[str, Any]:
        """Generators, and the noise that is not yet used up."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in self._ARRAYS}
        return {**super().get_checkpoint(), **arrays}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        super().set_checkpoint(tree)
        for name in self._ARRAYS:
            getattr(self, f"_{name}")[...] = tree[name]

    _ARRAYS = ("colour", "position", "noise", "held", "left")


def coloured(random: np.random.Generator, length: int, width: int, exponent: float) -> np.ndarray:
    """(length, width) float32 Gaussian noise of unit variance with power 1 / f^exponent, by FFT.

    The mean over the piece is left free (the zero frequency has the power of the lowest one).
    """
    frequency = np.fft.rfftfreq(length)  # [cycles per step]
    frequency[0] = frequency[1]
    scale = frequency ** (-exponent / 2)
    shape = (len(frequency), width)
    spectrum = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) * scale[:, None]
    spectrum[0] = spectrum[0].real * np.sqrt(2)
    spectrum[-1] = spectrum[-1].real * np.sqrt(2)
    power = (2 * scale[0] ** 2 + 4 * 2 * (scale[1:-1] ** 2).sum() / 2 + 2 * scale[-1] ** 2) / length**2
    return (np.fft.irfft(spectrum, length, axis=0) / np.sqrt(power)).astype(np.float32)


POLICIES = {"random": RandomPolicy, "pink": PinkPolicy, "zero": ZeroPolicy}
