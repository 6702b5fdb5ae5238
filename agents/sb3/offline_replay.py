"""Replay of a recorded stream: alone while an agent learns offline, later with its own steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples

from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.streams import Stream

from .features import FeatureBuilder
from .replay import StreamReplayBuffer

_MAX_CACHED_BYTES = 1 << 30  # of the features of a stream; a larger one is sampled from the files
_BLOCK_ROWS = 4096  # whose features are computed at once
_FULL_SHARE_STEPS = 5000  # own env steps from which on half of a batch is the agent's own


class RecordedReplay(Protocol):
    """Transitions of a recorded stream."""

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return a batch, as `StreamReplayBuffer.sample`."""

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the sampling."""

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""


class Transitions(NamedTuple):
    """Features of all R rows of a stream, and its N transitions."""

    features: torch.Tensor  # (R, F)
    row: torch.Tensor  # (N,) row of the observation; the next observation is in the row after it
    action: torch.Tensor  # (N, A) in [-1, 1]
    reward: torch.Tensor  # (N, 1)
    terminated: torch.Tensor  # (N, 1)


class CachedReplay:
    """Transitions of a recorded stream, uniformly, from features that are computed once and kept in memory."""

    def __init__(
        self, stream: Stream, features: FeatureBuilder, buffer: StreamReplayBuffer, seed: int
    ) -> None:
        """Create the replay.

        Args:
            stream: The recorded stream.
            features: Converts its observations to those of the algorithm.
            buffer: Converts its actions, and moves tensors to the device.
            seed: Seed of the sampling.
        """
        self._stream, self._features, self._buffer = stream, features, buffer
        self._rng = generator(seed, "offline replay")
        self._cached: Transitions | None = None
        self._representation: Any = None  # that of `_cached`

    @staticmethod
    def fits(stream: Stream, features: FeatureBuilder) -> bool:
        """Return whether there are no images, and the features fit into the memory limit."""
        return not features.image_paths and 4 * stream.rows * features.size <= _MAX_CACHED_BYTES

    @property
    def transitions(self) -> Transitions:
        """All transitions, with features of the current representation."""
        if self._cached is None or self._representation is not self._features.representation:
            self._representation, self._cached = self._features.representation, self._load()
        return self._cached

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return a batch, as `StreamReplayBuffer.sample`."""
        return self.sample_batches(batch_size, 1)

    def sample_batches(self, batch_size: int, count: int) -> ReplayBufferSamples:
        """Return the next `count` batches one after the other, (count * batch_size, ...)."""
        data = self.transitions
        drawn = [self._rng.integers(len(data.row), size=batch_size) for _ in range(count)]
        index = torch.from_numpy(np.concatenate(drawn)).to(data.row.device)
        row = data.row.index_select(0, index)
        return ReplayBufferSamples(
            data.features.index_select(0, row),
            data.action.index_select(0, index),
            data.features.index_select(0, row + 1),
            data.terminated.index_select(0, index),
            data.reward.index_select(0, index),
        )

    def _load(self) -> Transitions:
        """Return the transitions of all lanes."""
        stream, names = self._stream, ["action", "reward", "terminated", "valid"]
        features, rows, columns, first = [], [], [], 0
        for lane, length in enumerate(stream.lengths.tolist()):
            values = stream.read(lane, 0, length, names)
            position = np.flatnonzero(values["valid"][: length - 1])
            rows.append(first + position)
            columns.append([values[name][position] for name in names[:3]])
            for start in range(0, length, _BLOCK_ROWS):
                features.append(self._block(lane, start, min(start + _BLOCK_ROWS, length)))
            first += length
        action, reward, terminated = (np.concatenate([c[i] for c in columns]) for i in range(3))
        to_torch = self._buffer.to_torch
        return Transitions(
            to_torch(np.concatenate(features)),
            to_torch(np.concatenate(rows)),
            to_torch(self._buffer.to_sb3_actions(action)),
            to_torch(reward[:, None]),
            to_torch(terminated[:, None].astype(np.float32)),
        )

    def _block(self, lane: int, start: int, stop: int) -> np.ndarray:
        """Return the features (n, F) of rows [start, stop) of a lane."""
        schema = self._stream.schema
        return self._features(
            schema.join_observation(self._stream.read(lane, start, stop, schema.observations))
        )

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the sampling."""
        return {"generator": generator_state(self._rng)}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        restore_generator(self._rng, tree["generator"])


class OfflineReplayBuffer(StreamReplayBuffer):
    """Replay of an agent's own steps, and of a recorded stream.

    Attributes:
        recorded: The recorded stream, or None.
        offline: Sample the recorded stream alone.
    """

    recorded: RecordedReplay | None = None
    offline = False

    @property
    def empty(self) -> bool:
        """Whether there is no transition at all."""
        return self.recorded is None and super().empty

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return a batch, of which a part is the agent's own.

        The part grows with the number of own steps, up to half of the batch: the first few steps, seen again and again,
        would change what was learned offline (docs/control.md, "Offline, then online").
        """
        if self.recorded is None:
            return super().sample(batch_size, env)
        own_size = int(batch_size // 2 * min(1.0, self.size() / _FULL_SHARE_STEPS))
        if self.offline or super().empty:
            own_size = 0
        recorded = self.recorded.sample(batch_size - own_size, env)
        return recorded if own_size == 0 else _join(super().sample(own_size, env), recorded)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the sampling and the count."""
        recorded = None if self.recorded is None else self.recorded.get_checkpoint()
        return {**super().get_checkpoint(), "recorded": recorded}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        super().set_checkpoint(tree)
        if self.recorded is not None and tree["recorded"] is not None:
            self.recorded.set_checkpoint(tree["recorded"])


def _join(first: Any, second: Any) -> Any:
    """Return two batches as one."""
    joined: list[Any] = []
    for a, b in zip(first, second):
        if isinstance(a, dict):
            joined.append({key: torch.cat([a[key], b[key]]) for key in a})
        else:
            joined.append(None if a is None else torch.cat([a, b]))
    samples_class: Any = DictReplayBufferSamples if isinstance(first[0], dict) else ReplayBufferSamples
    return samples_class(*joined)
