"""Distributions of action plans for iCEM: Gaussian for continuous actions, categorical for discrete ones."""

from __future__ import annotations

from typing import Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space

from .action_range import action_range

_UNIFORM = 0.1  # probability that a category is drawn uniformly, so that none is lost
_WARM = 0.5  # weight of the last plan in the first categories of a new one


class PlanDistribution(Protocol):
    """Distribution of plans (H, A) of encoded actions."""

    action_dim: int  # A
    initial: float  # mean of each encoded action before the first plan

    def start(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (m, H, A) of a new search around the last plan (m, H, A)."""

    def draw(self, mean: Tensor, std: Tensor, generators: list[np.random.Generator], samples: int) -> Tensor:
        """Return plans (m, S, H, A); the first is the mean. Row i is drawn with generator i."""

    def to_env(self, actions: Tensor) -> Tensor:
        """Return env actions (..., *shape) of encoded actions (..., A)."""


class GaussianPlans:
    """Plans of a float Box, encoded in [-1, 1]; the noise along a plan is colored."""

    initial = 0.0

    def __init__(self, space: gym.Space, decisions: int, noise_exponent: float, init_std: float) -> None:
        """Create the distribution.

        Args:
            space: A float Box.
            decisions: H, number of actions in a plan.
            noise_exponent: 0 white, 1 pink, 2 red noise.
            init_std: Standard deviation at the start of a search.
        """
        self._low, self._high = (
            torch.from_numpy(bound.reshape(-1).astype(np.float32)) for bound in action_range(space)
        )  # (A,)
        self._center, self._half_range = (self._low + self._high) / 2, (self._high - self._low) / 2
        self._shape, self.action_dim = space.shape or (), self._center.numel()
        self._noise_factor = noise_factor(decisions, noise_exponent)
        self._init_std = init_std

    def start(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (m, H, A) of a new search around the last plan."""
        return mean, torch.full_like(mean, self._init_std)

    def draw(self, mean: Tensor, std: Tensor, generators: list[np.random.Generator], samples: int) -> Tensor:
        """Return plans (m, S, H, A) in [-1, 1]; the first is the mean."""
        shape = (samples, *mean.shape[1:])
        white = np.stack([random.standard_normal(shape, np.float32) for random in generators])
        noise = torch.from_numpy(np.einsum("th,mshw->mstw", self._noise_factor, white))
        plans = (mean[:, None] + std[:, None] * noise).clamp(-1, 1)
        plans[:, 0] = mean
        return plans

    def to_env(self, actions: Tensor) -> Tensor:
        """Return env actions (..., *shape), within the bounds: sums round."""
        scaled = (self._center + actions * self._half_range).clamp(self._low, self._high)
        return scaled.reshape(*actions.shape[:-1], *self._shape)


class CategoricalPlans:
    """Plans of a Discrete, one-hot; the mean of a plan holds the probabilities of the categories."""

    def __init__(self, space: spaces.Discrete) -> None:
        """Create the distribution of plans in `space`."""
        self.action_dim, self._start = int(space.n), int(space.start)
        self.initial = 1.0 / self.action_dim

    def start(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (m, H, A) of a new search, half those of the last plan and half uniform."""
        return _WARM * mean + (1 - _WARM) * self.initial, torch.zeros_like(mean)

    def draw(self, mean: Tensor, std: Tensor, generators: list[np.random.Generator], samples: int) -> Tensor:
        """Return one-hot plans (m, S, H, A); the first has the most probable categories."""
        uniform = torch.from_numpy(
            np.stack([random.random((samples, mean.shape[1]), np.float32) for random in generators])
        )
        limits = ((1 - _UNIFORM) * mean + _UNIFORM * self.initial).cumsum(-1)[:, None, :, :-1]
        category = (uniform[..., None] >= limits).sum(-1)  # (m, S, H)
        category[:, 0] = mean.argmax(-1)
        return torch.nn.functional.one_hot(category, self.action_dim).float()

    def to_env(self, actions: Tensor) -> Tensor:
        """Return categories (...) int64."""
        return actions.argmax(-1) + self._start


def make_plan_distribution(
    space: gym.Space, decisions: int, noise_exponent: float, init_std: float
) -> PlanDistribution:
    """Return the distribution of plans for an action space; UsageError if it is neither a float Box nor Discrete."""
    if isinstance(space, spaces.Discrete):
        return CategoricalPlans(space)
    if isinstance(space, spaces.Box):
        return GaussianPlans(space, decisions, noise_exponent, init_std)
    raise UsageError(f"the planner needs float Box or Discrete actions; this env has {format_space(space)}")


def noise_factor(length: int, exponent: float) -> np.ndarray:
    """Return the matrix (H, H) float32 that turns white noise into noise of power 1 / f^exponent and unit variance."""
    # the period is longer than a plan, so that the end of a plan does not correlate with its start
    frequency = np.fft.rfftfreq(8 * length)
    frequency[0] = frequency[1]
    covariance = np.fft.irfft(frequency**-exponent)[:length]
    lag = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    return np.linalg.cholesky(covariance[lag] / covariance[0]).astype(np.float32)
