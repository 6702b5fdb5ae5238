"""Where windows begin: any row of a split that begins a transition, uniformly or the recent ones first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.splits import SPLITS, split_index
from robossl.streams.storage.row_index import RowIndex

_ROUNDS = 8  # of guessing, before all rows are looked through


class Sampler(Protocol):
    """Proposes rows; those that begin no transition of the split are thrown away.

    A sampler that wants to know which ones has a method `refused(lane, position)`.
    """

    def propose(
        self, rng: np.random.Generator, count: int, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lane and position (count or fewer,), `0 <= position < room[lane]`; `room` (L,) may hold zeros."""


class Uniform:
    """Every row alike."""

    def propose(
        self, rng: np.random.Generator, count: int, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lane and position (count,)."""
        stop = np.cumsum(room)
        flat = rng.integers(stop[-1], size=count)
        lane = np.searchsorted(stop, flat, "right")
        return lane, flat - (stop - room)[lane]


@dataclass(frozen=True)
class Recent:
    """The newest rows first: half of the windows begin within the last `half_life` rows of a lane."""

    half_life: float  # [rows]

    def propose(
        self, rng: np.random.Generator, count: int, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lane and position (count,)."""
        filled = np.flatnonzero(room)
        lane = filled[rng.integers(len(filled), size=count)]
        age = np.floor(rng.exponential(self.half_life / np.log(2.0), size=count))
        return lane, room[lane] - 1 - (np.minimum(age, 2.0**62).astype(np.int64) % room[lane])


def sample_starts(
    ledger: RowIndex,
    batch: int,
    length: int,
    rng: np.random.Generator,
    split: str | None,
    sampler: Sampler,
) -> tuple[np.ndarray, np.ndarray]:
    """Lane and position (batch,) where windows of `length` actions begin; `RequestError` where none can.

    Proposals are accepted where the ledger says that the row begins a transition of the split. What comes
    out depends on the rows and on `rng` alone, not on how often or when the stream was asked before.
    """
    code = None if split is None else split_index(split)
    room = np.maximum(ledger.lengths - length, 0)  # (L,) a window needs one row more than actions
    usable = int(ledger.counts.sum() if code is None else ledger.counts[code])
    if usable == 0 or not room.any():
        raise UsageError(_nothing(ledger, length, split, usable))
    share = max(usable / int(ledger.lengths.sum()), 1e-3)
    lanes, positions, found = [], [], 0
    for _ in range(_ROUNDS):
        lane, position = sampler.propose(rng, int(1.1 * (batch - found) / share) + 8, room)
        begins = ledger.begins(code, ledger.bytes(lane, position))
        if hasattr(sampler, "refused"):
            sampler.refused(lane[~begins], position[~begins])
        keep = np.flatnonzero(begins)[: batch - found]
        lanes.append(lane[keep])
        positions.append(position[keep])
        found += len(keep)
        if found == batch:
            return np.concatenate(lanes), np.concatenate(positions)
    return _enumerate(ledger, batch, length, rng, split, code, room)


def _enumerate(
    ledger: RowIndex,
    batch: int,
    length: int,
    rng: np.random.Generator,
    split: str | None,
    code: int | None,
    room: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Look through all rows: for streams where hardly any row will do."""
    lanes, positions = [], []
    for lane in np.flatnonzero(room):
        position = np.flatnonzero(ledger.begins(code, ledger.lane_bytes(int(lane))[: room[lane]]))
        lanes.append(np.full(len(position), lane))
        positions.append(position)
    lane_of, position_of = np.concatenate(lanes), np.concatenate(positions)
    if len(lane_of) == 0:
        raise UsageError(_nothing(ledger, length, split, 0))
    chosen = rng.integers(len(lane_of), size=batch)
    return lane_of[chosen], position_of[chosen]


def _nothing(ledger: RowIndex, length: int, split: str | None, usable: int) -> str:
    """Why no window can be sampled."""
    which = "" if split is None else f" in split {split!r}"
    longest = int(ledger.lengths.max(initial=0))
    if ledger.lengths.sum() == 0:
        return "no window can be sampled: the stream is empty"
    if usable and longest <= length:
        return (
            f"no window of {length} actions can be sampled: it needs {length + 1} rows of a lane, "
            f"the longest has {longest}"
        )
    per_split = ", ".join(f"{name} {count}" for name, count in zip(SPLITS, ledger.counts.tolist()))
    return f"no window of {length} actions can be sampled{which}; transitions there are: {per_split}"
