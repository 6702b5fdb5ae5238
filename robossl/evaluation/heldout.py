"""Held-out data of a model: encoded "probe" and "test" splits, scaled by statistics of "train"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium import spaces

from robossl.core import encoding
from robossl.core.seeding import generator
from robossl.evaluation.latents import encode
from robossl.evaluation.metrics.ridge import Ridge, fit_ridge
from robossl.evaluation.split_data import SplitData, load_split
from robossl.streams import Stream
from robossl.world_model import WorldModel

# [standard deviations] Values are clipped here, so that rare outliers do not dominate a score.
MAX_DEVIATION = 10.0


@dataclass(frozen=True)
class HeldOutData:
    """Splits of a stream and their latents: readouts are fitted on `probe`, metrics are computed on `test`."""

    train: SplitData
    probe: SplitData
    test: SplitData
    probe_z: np.ndarray  # (N, Z)
    test_z: np.ndarray  # (M, Z)
    observation_std: np.ndarray  # (D,) standard deviation of each value in train; 0 where it is constant
    action_space: spaces.Space
    observation_space: spaces.Space
    seed: int

    @property
    def varies(self) -> np.ndarray:
        """(D,) bool: the observed values that are not constant in train."""
        return self.observation_std > 0

    @cached_property
    def linear_dynamics(self) -> Ridge:
        """Least-squares dynamics on raw observations: normalized values and action (N, D' + A) to change (N, D')."""
        train, starts = self.train, self.train.starts(1)
        observed = self.normalize(train.values)
        inputs = np.concatenate([observed[starts], self.encode_action(train.action[starts])], 1)
        return fit_ridge(inputs, observed[starts + 1] - observed[starts], train.episode[starts])

    @cached_property
    def scaled_z(self) -> tuple[np.ndarray, np.ndarray]:
        """Latents of probe (N, Z) and test (M, Z) in units of their standard deviation in probe; constants are 0."""
        scale = self.probe_z.std(0)
        scale[scale < 1e-7 * (1 + np.abs(self.probe_z).max(0))] = np.inf
        return self.probe_z / scale, self.test_z / scale

    @cached_property
    def standardized_z(self) -> tuple[np.ndarray, np.ndarray]:
        """Latents as in `scaled_z`, minus their mean in probe."""
        probe, test = self.scaled_z
        return probe - probe.mean(0), test - probe.mean(0)

    @property
    def discrete_actions(self) -> bool:
        """Whether actions are categories."""
        return isinstance(self.action_space, spaces.Discrete)

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """Return env actions (N, *shape) as (N, A) float64; discrete actions become one-hot."""
        return encoding.encode(self.action_space, action, np.float64)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Return the varying columns (N, D') of values (N, D), standardized by train and clipped to 10 deviations."""
        deviation = values[:, self.varies] - self._mean[self.varies]
        return np.clip(deviation / self.observation_std[self.varies], -MAX_DEVIATION, MAX_DEVIATION)

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.train.values.mean(0)  # (D,)


def load_heldout(
    model: WorldModel, stream: Stream, seed: int = 0, probe_steps: int | None = None
) -> HeldOutData:
    """Load the splits of a stream and encode probe and test once, for all metrics.

    Args:
        model: Encodes the observations.
        stream: Recorded steps.
        seed: Seed of the order in which episodes are drawn.
        probe_steps: About how many time steps of `probe` to load; None: the default of `load_split`.

    Raises:
        UsageError: A split has no episode.
    """
    train = load_split(stream, "train", seed, inputs_only=True)
    probe = load_split(stream, "probe", seed, probe_steps)
    test = load_split(stream, "test", seed)
    std = train.values.std(0)
    std[std <= 1e-6 * (1 + np.abs(train.values).max(0))] = 0.0
    return HeldOutData(
        train=train,
        probe=probe,
        test=test,
        probe_z=encode(model, probe),
        test_z=encode(model, test),
        observation_std=std,
        action_space=stream.action_space,
        observation_space=stream.observation_space,
        seed=seed,
    )


def subsample(starts: np.ndarray, count: int, seed: int, *purpose: str | int) -> np.ndarray:
    """Return at most `count` of `starts`, drawn without replacement, in their order."""
    if len(starts) <= count:
        return starts
    return np.sort(generator(seed, *purpose).choice(starts, count, replace=False))
