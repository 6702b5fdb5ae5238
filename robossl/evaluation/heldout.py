"""What is held out to judge a model: encoded rows of the splits "probe" and "test", scaled by "train"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.seeding import generator
from robossl.evaluation.latents import encode
from robossl.evaluation.metrics.ridge import Ridge, fit_ridge
from robossl.evaluation.split_data import SplitData, load_split

FARTHEST = 10.0  # spreads from the mean; what is farther counts as that far, or one rare flight would be all there is


@dataclass(frozen=True)
class HeldOutData:
    """Readouts are fitted on `probe`, figures are taken on `test`; scales come from `train`."""

    train: SplitData
    probe: SplitData
    test: SplitData
    probe_z: np.ndarray  # (N, Z)
    test_z: np.ndarray  # (M, Z)
    spread: np.ndarray  # (D,) standard deviation of each observed number in train; 0 where it never changes
    actions: ActionEncoder
    space: spaces.Space  # of the observations
    seed: int

    @property
    def alive(self) -> np.ndarray:
        """(D,) bool: the observed numbers that change at all."""
        return self.spread > 0

    @cached_property
    def linear(self) -> Ridge:
        """The best linear dynamics on raw observations: normalised ones and an action side by side to the change."""
        rows, now = self.train, self.train.pairs(1)
        observed = self.normalised(rows.numbers)
        inputs = np.concatenate([observed[now], self.actions.numbers(rows.action[now])], 1)
        return fit_ridge(inputs, observed[now + 1] - observed[now], rows.episode[now])

    @cached_property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """z of "probe" (N, Z) and of "test" (M, Z), each number in units of its spread in "probe"; 0 without any."""
        scale = self.probe_z.std(0)
        scale[scale < 1e-7 * (1 + np.abs(self.probe_z).max(0))] = np.inf
        return self.probe_z / scale, self.test_z / scale

    @cached_property
    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """The same from its mean in "probe": for networks whose hidden units are to wake and sleep."""
        probe, test = self.scaled
        return probe - probe.mean(0), test - probe.mean(0)

    def normalised(self, numbers: np.ndarray) -> np.ndarray:
        """Of numbers (N, D) those that change, (N, D'): from their mean in units of their spread, 10 at most."""
        away = numbers[:, self.alive] - self._mean[self.alive]
        return np.clip(away / self.spread[self.alive], -FARTHEST, FARTHEST)

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.train.numbers.mean(0)  # (D,)


def load_heldout(model: Any, stream: Any, seed: int = 0) -> HeldOutData:
    """Read and encode the held-out rows once, for all diagnostics. RequestError where a split is empty."""
    train = load_split(stream, "train", seed, only_seen=True)
    probe, test = (load_split(stream, split, seed) for split in ("probe", "test"))
    spread = train.numbers.std(0)
    spread[spread <= 1e-6 * (1 + np.abs(train.numbers).max(0))] = 0.0
    space, actions = stream.observation_space, ActionEncoder(stream.action_space)
    return HeldOutData(
        train, probe, test, encode(model, probe), encode(model, test), spread, actions, space, seed
    )


class ActionEncoder:
    """Env actions as numbers: boxes as they are, a choice one-hot."""

    def __init__(self, space: spaces.Space) -> None:
        self.discrete = isinstance(space, spaces.Discrete)
        self.choices = int(space.n) if isinstance(space, spaces.Discrete) else 0
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else 0

    def numbers(self, action: np.ndarray) -> np.ndarray:
        """(N, A) float64 for actions (N, A), or (N,) choices."""
        if self.discrete:
            return np.eye(self.choices)[np.rint(action).astype(np.int64).reshape(-1) - self.start]
        return np.asarray(action, np.float64).reshape(len(action), -1)


def subsample(starts: np.ndarray, count: int, seed: int, *purpose: str | int) -> np.ndarray:
    """At most `count` of `starts`, drawn without putting back, in their order."""
    if len(starts) <= count:
        return starts
    return np.sort(generator(seed, *purpose).choice(starts, count, replace=False))
