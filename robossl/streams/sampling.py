"""Sampling of the rows where windows begin: uniform, or recent rows with higher probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.splits import SPLITS, split_index
from robossl.streams.storage.row_index import RowIndex

_MAX_ATTEMPTS = 8  # attempts of rejection sampling before all rows are scanned


class Sampler(Protocol):
    """Proposes rows; those that begin no transition of the split are rejected.

    An optional method `mark_invalid(lane, position)` receives the rejected rows.

    Example:
        class First:
            def propose(self, rng, count, limits):
                return rng.integers(0, len(limits), count), np.zeros(count, int)  # the first row of a lane
    """

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count or fewer,) with `0 <= position < limits[lane]`.

        Args:
            rng: Source of randomness.
            count: Number of rows.
            limits: (L,) number of candidate rows in each lane; may contain zeros.
        """


class Uniform:
    """Sample all rows with equal probability.

    Example:
        window = stream.windows(256, 1, rng, sampler=robossl.streams.Uniform())
    """

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count,)."""
        stop = np.cumsum(limits)
        flat = rng.integers(stop[-1], size=count)
        lane = np.searchsorted(stop, flat, "right")
        return lane, flat - (stop - limits)[lane]


@dataclass(frozen=True)
class LaneRange:
    """Sample the rows of `count` lanes from `first` on with equal probability, or the newest ones of each lane."""

    first: int
    count: int
    newest: int | None = None  # rows of each lane; None: all

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position; none if these lanes have no candidate row."""
        chosen = np.zeros_like(limits)
        chosen[self.first : self.first + self.count] = limits[self.first : self.first + self.count]
        if self.newest is not None:
            chosen = np.minimum(chosen, self.newest)
        if not chosen.any():
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        lane, position = Uniform().propose(rng, count, chosen)
        return lane, position if self.newest is None else position + (limits - chosen)[lane]

    def has_rows(self, limits: np.ndarray) -> bool:
        """Return whether these lanes have a candidate row, given the numbers (L,) of all lanes."""
        return bool((limits[self.first : self.first + self.count] > 0).any())

    def contains(self, lane: np.ndarray) -> bool:
        """Return whether all of `lane` (B,) are among these."""
        return bool(self.first <= lane.min() and lane.max() < self.first + self.count)


@dataclass(frozen=True)
class Mixed:
    """Sample a fraction of the rows from one sampler and the others from another."""

    fraction: float
    one: Sampler
    other: Sampler

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count or fewer,), in random order: the first ones of them are a fair sample."""
        num_one = int(rng.binomial(count, self.fraction))
        lane, position = (
            np.concatenate(parts)
            for parts in zip(
                self.one.propose(rng, num_one, limits), self.other.propose(rng, count - num_one, limits)
            )
        )
        order = rng.permutation(len(lane))
        return lane[order], position[order]


@dataclass(frozen=True)
class Recent:
    """Prefer the newest rows: half of the windows begin within the last `half_life` rows of a lane.

    Example:
        window = stream.windows(256, 1, rng, sampler=robossl.streams.Recent(half_life=10_000))
    """

    half_life: float  # [rows]

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count,)."""
        filled = np.flatnonzero(limits)
        lane = filled[rng.integers(len(filled), size=count)]
        age = np.floor(rng.exponential(self.half_life / np.log(2.0), size=count))
        return lane, limits[lane] - 1 - (np.minimum(age, 2.0**62).astype(np.int64) % limits[lane])


def sample_starts(
    index: RowIndex,
    batch: int,
    length: int,
    rng: np.random.Generator,
    split: str | None,
    sampler: Sampler,
) -> tuple[np.ndarray, np.ndarray]:
    """Return lane and position (batch,) where windows of `length` actions begin.

    Proposals are accepted if the row begins a transition of the split. The result depends only on the rows and
    `rng`, not on earlier calls.

    Args:
        index: Flags of all rows.
        batch: Number of windows.
        length: Actions in a window.
        rng: Source of randomness.
        split: Name of a split; None for all.
        sampler: Proposes rows.

    Raises:
        UsageError: If no window can be sampled.
    """
    code = None if split is None else split_index(split)
    limits = np.maximum(index.lengths - length, 0)  # (L,) a window has one row more than actions
    num_usable = int(index.counts.sum() if code is None else index.counts[code])
    if num_usable == 0 or not limits.any():
        raise UsageError(_no_window_message(index, length, split, num_usable))
    fraction = max(num_usable / int(index.lengths.sum()), 1e-3)
    lanes, positions, num_found = [], [], 0
    for _ in range(_MAX_ATTEMPTS):
        lane, position = sampler.propose(rng, int(1.1 * (batch - num_found) / fraction) + 8, limits)
        is_start = index.begins(code, index.flag_bytes(lane, position))
        if hasattr(sampler, "mark_invalid"):
            sampler.mark_invalid(lane[~is_start], position[~is_start])
        keep = np.flatnonzero(is_start)[: batch - num_found]
        lanes.append(lane[keep])
        positions.append(position[keep])
        num_found += len(keep)
        if num_found == batch:
            return np.concatenate(lanes), np.concatenate(positions)
    return _sample_exhaustively(index, batch, length, rng, split, code, limits)


def _sample_exhaustively(
    index: RowIndex,
    batch: int,
    length: int,
    rng: np.random.Generator,
    split: str | None,
    code: int | None,
    limits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return start rows as `sample_starts`, by a scan of all rows: for streams where almost no row qualifies."""
    lanes, positions = [], []
    for lane in np.flatnonzero(limits):
        position = np.flatnonzero(index.begins(code, index.lane_flag_bytes(int(lane))[: limits[lane]]))
        lanes.append(np.full(len(position), lane))
        positions.append(position)
    all_lanes, all_positions = np.concatenate(lanes), np.concatenate(positions)
    if len(all_lanes) == 0:
        raise UsageError(_no_window_message(index, length, split, 0))
    selected = rng.integers(len(all_lanes), size=batch)
    return all_lanes[selected], all_positions[selected]


def _no_window_message(index: RowIndex, length: int, split: str | None, num_usable: int) -> str:
    """Return why no window can be sampled."""
    which = "" if split is None else f" in split {split!r}"
    longest = int(index.lengths.max(initial=0))
    if index.lengths.sum() == 0:
        return "no window can be sampled: the stream is empty"
    if num_usable and longest <= length:
        return (
            f"no window of {length} actions can be sampled: it needs {length + 1} rows of a lane, "
            f"the longest has {longest}"
        )
    per_split = ", ".join(f"{name} {count}" for name, count in zip(SPLITS, index.counts.tolist()))
    return f"no window of {length} actions can be sampled{which}; available transitions: {per_split}"
