"""Replay of the self-predictive agent: windows of a stream, sampled by TD error and age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.streams import Stream, Window
from robossl.streams.priority_sampling import Prioritized

from ..sb3.features import FeatureBuilder
from ..sb3.hindsight import HindsightRelabeler
from ..shared.action_range import action_range
from .presets import SelfPredictiveConfig

_AGES = 64  # at which the mean recency is estimated
_MAX_PROPOSALS = 1 << 16


class FadedPriority:
    """Samples rows of some lanes in proportion to `max(|TD error|, 1) ** exponent * max(floor, decay ** age)`.

    The age of a row is the number of env steps that its lanes have taken since. The priorities are kept by
    `Prioritized`; the age is applied by rejection, so that no priority changes when time passes.
    """

    def __init__(self, lanes: np.ndarray, exponent: float, decay: float, floor: float) -> None:
        """Sample the given lanes (n,)."""
        self._lanes, self._decay, self._floor = np.asarray(lanes), decay, floor
        self._priorities = Prioritized(exponent)

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count or fewer,)."""
        own = np.zeros_like(limits)
        own[self._lanes] = limits[self._lanes]
        if not own.any():
            raise UsageError("the lanes of the agent hold no transition yet; record some steps first")
        ages = np.linspace(0, own.max() - 1, _AGES)
        num_proposals = int(1.1 * count / self.recency(ages).mean()) + 8
        lane, position = self._priorities.propose(rng, min(num_proposals, _MAX_PROPOSALS), own)
        accepted = rng.random(len(lane)) < self.recency(own[lane] - 1 - position)
        return lane[accepted][:count], position[accepted][:count]

    def recency(self, age: np.ndarray) -> np.ndarray:
        """Return the weight (k,) of rows that are `age` (k,) rows of a lane old."""
        return np.maximum(self._floor, self._decay ** (age * len(self._lanes)))

    def mark_invalid(self, lane: np.ndarray, position: np.ndarray) -> None:
        """Exclude rows (B,), which begin no transition, from further proposals."""
        self._priorities.mark_invalid(lane, position)

    def update(self, lane: np.ndarray, position: np.ndarray, error: np.ndarray) -> None:
        """Set the TD errors (B,) of rows (B,)."""
        self._priorities.update(lane, position, np.maximum(np.abs(error), 1.0))

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the priorities."""
        return self._priorities.get_checkpoint()

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self._priorities.set_checkpoint(dict(tree))


class WindowArrays(NamedTuple):
    """B windows of T steps as numbers; input_dim I, action_dim A."""

    inputs: np.ndarray  # (B, T + 1, I) float32
    action: np.ndarray  # (B, T, A) float32 in [-1, 1]
    reward: np.ndarray  # (B, T) float32
    terminated: np.ndarray  # (B, T) bool
    mask: np.ndarray  # (B, T) bool: in the episode that the window begins in
    lane: np.ndarray  # (B,)
    start: np.ndarray  # (B,)


class Replay:
    """Windows of some lanes of a stream, with hindsight goals on goal envs."""

    def __init__(
        self,
        stream: Stream,
        lanes: np.ndarray,
        features: FeatureBuilder,
        config: SelfPredictiveConfig,
        hindsight: HindsightRelabeler | None,
        fades: bool = True,
    ) -> None:
        """Replay `lanes` (n,) of `stream`; with `fades`, older rows are sampled less often."""
        self.stream, self.lanes = stream, np.asarray(lanes)
        self._features, self._hindsight = features, hindsight
        self._low, self._high = action_range(stream.action_space)
        decay = config.recency_decay if fades else 1.0
        self.sampler = FadedPriority(lanes, config.priority_exponent, decay, config.min_recency)

    def ready(self, length: int) -> bool:
        """Return whether the lanes hold a window of `length` actions."""
        return bool((self.stream.lengths[self.lanes] > length).any())

    def sample(self, batch: int, length: int, rng: np.random.Generator) -> WindowArrays:
        """Return `batch` windows of `length` actions."""
        window = self.stream.windows(batch, length, rng, split=None, sampler=self.sampler)
        assert np.isin(window.lane, self.lanes).all(), "a lane of another agent was sampled"
        observation, reward = window.observation, window.reward
        if self._hindsight is not None:
            observation, reward = self._hindsight.relabel(window, rng)
        return WindowArrays(
            self._inputs(observation, batch, length), self._unit_actions(window), reward.astype(np.float32),
            window.terminated, window.mask, window.lane, window.start,
        )  # fmt: skip

    def _inputs(self, observation: Any, batch: int, length: int) -> np.ndarray:
        """Return the inputs (B, T + 1, I) of observations (B, T + 1, ...)."""
        space = self._features.space
        merged = {
            path: values.reshape(batch * (length + 1), *values.shape[2:])
            for path, values in spaces.flatten_by_path(space, observation).items()
        }
        inputs = self._features(spaces.unflatten_by_path(space, merged))
        return inputs.reshape(batch, length + 1, -1)

    def _unit_actions(self, window: Window) -> np.ndarray:
        """Return the actions (B, T, A) in [-1, 1]."""
        unit = 2 * (window.action - self._low) / (self._high - self._low) - 1
        return unit.reshape(*window.action.shape[:2], -1).clip(-1, 1).astype(np.float32)

    def sum_abs_reward(self) -> tuple[float, int]:
        """Return the sum of the absolute rewards of all transitions in the lanes, and their number."""
        total, count = 0.0, 0
        for lane in map(int, self.lanes):
            rows = self.stream.read(lane, 0, int(self.stream.lengths[lane]), ["reward", "valid"])
            total += float(np.abs(rows["reward"][rows["valid"]], dtype=np.float64).sum())
            count += int(rows["valid"].sum())
        return total, count


def multi_step_return(
    reward: np.ndarray, terminated: np.ndarray, mask: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the discounted rewards, the discount of what follows, and the number of steps, (B,) each.

    Args:
        reward: (B, T).
        terminated: (B, T) bool.
        mask: (B, T) bool: steps in the episode that the window begins in; the first ones.
        gamma: Discount factor of a step.
    """
    powers = gamma ** np.arange(reward.shape[1])
    returned = (reward * mask * powers).sum(1)
    steps = mask.sum(1)
    discount = gamma**steps * ~(terminated & mask).any(1)
    return returned.astype(np.float32), discount.astype(np.float32), steps
