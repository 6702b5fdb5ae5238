"""Splits: assign each episode to train, validation, probe or test before any training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from robossl.core.errors import unknown_name_error

SPLITS = ("train", "validation", "probe", "test")
_SMALL_TABLE = 10_000  # ordinals whose splits are always computed together
# of the first ten episodes of a group of lanes, so that short runs can be evaluated
_FIRST_TEN = np.array([0, 0, 3, 0, 2, 0, 1, 0, 0, 0], np.uint8)
_SPLITS_OF_TEN = np.repeat(np.arange(4, dtype=np.uint8), (7, 1, 1, 1))  # (10,) splits of ten episodes


def split_index(name: str) -> int:
    """Return the number of a split; raise UsageError with the available names."""
    if name not in SPLITS:
        raise unknown_name_error("split", name, SPLITS)
    return SPLITS.index(name)


class Splits:
    """Split of every episode of one stream, by its ordinal.

    Ordinal `k = episode_in_lane * lanes + lane`. Every block of ten ordinals has seven train episodes and one of each
    other split, in an order from a hash of the stream and the block. The splits are balanced at any length, and the
    split of an episode never changes while the stream grows. The first episode is a train episode, so that a model can
    be trained on a stream of few episodes.

    Where groups of lanes are recorded one after the other, each group is numbered and split for itself: the ordinals of
    the first one alone would have gaps, and so too few episodes of some split.
    """

    def __init__(
        self, stream: str, lanes: int = 1, groups: Sequence[int] = (), is_group: bool = False
    ) -> None:
        """Create the splits of a stream.

        Args:
            stream: Id of the stream.
            lanes: Number of lanes.
            groups: Numbers of lanes of the groups that are recorded one after the other; empty: all lanes together.
            is_group: Whether these are the episodes of one group: the first seven then have all splits.
        """
        self._stream, self._lanes, self._is_group = stream, lanes, is_group
        self._ends = np.cumsum(groups, dtype=np.int64)  # (G,) first lane after each group
        self._groups = [Splits(f"{stream}/{index}", is_group=True) for index in range(len(groups))]
        self._table = np.empty(0, np.uint8)

    def of(self, ordinals: np.ndarray) -> np.ndarray:
        """Return the split numbers (n,) uint8 of episodes `ordinals` (n,)."""
        if self._groups:
            return self._of_groups(ordinals)
        needed = int(ordinals.max(initial=-1)) + 1
        if needed > len(self._table):
            if needed > 4 * (len(self._table) + len(ordinals)) + _SMALL_TABLE:
                return self._of_sparse(ordinals)
            blocks = range(len(self._table) // 10, max(2 * len(self._table), needed) // 10 + 1)
            self._table = np.concatenate([self._table, *(self._block_splits(block) for block in blocks)])
        return self._table[ordinals]

    def _of_groups(self, ordinals: np.ndarray) -> np.ndarray:
        """Return the splits (n,) of ordinals, each by its number within its group of lanes."""
        episode, lane = np.divmod(ordinals, self._lanes)
        group = np.searchsorted(self._ends, lane, side="right")
        result = np.empty(len(ordinals), np.uint8)
        first = 0
        for index, (splits, end) in enumerate(zip(self._groups, self._ends.tolist())):
            chosen = group == index
            result[chosen] = splits.of(episode[chosen] * (end - first) + lane[chosen] - first)
            first = end
        return result

    def _of_sparse(self, ordinals: np.ndarray) -> np.ndarray:
        """Return the splits (n,) of ordinals far beyond the table: only the blocks that occur are computed."""
        blocks, index = np.unique(ordinals // 10, return_inverse=True)
        table = np.stack([self._block_splits(int(block)) for block in blocks])  # (blocks, 10)
        return table[index, ordinals % 10]

    def _block_splits(self, block: int) -> np.ndarray:
        """Return the splits (10,) of one block: a permutation sorted by hash; in the first block, train first."""
        if block == 0 and self._is_group:
            return _FIRST_TEN
        keys = [
            hashlib.blake2b(f"{self._stream}/{block}/{k}".encode(), digest_size=8).digest() for k in range(10)
        ]
        splits = _SPLITS_OF_TEN[np.argsort(np.frombuffer(b"".join(keys), ">u8"), kind="stable")]
        if block == 0:
            first_train = int(np.argmin(splits))
            splits[[0, first_train]] = splits[[first_train, 0]]
        return splits
