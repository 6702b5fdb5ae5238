"""Which episode serves what: training, validation, fitting probes, testing. Decided before any training."""

from __future__ import annotations

import hashlib

import numpy as np

from robossl.core.errors import unknown_name_error

SPLITS = ("train", "validation", "probe", "test")
_BLOCK = np.repeat(np.arange(4, dtype=np.uint8), (7, 1, 1, 1))  # of every ten episodes, how many for each


def split_index(name: str) -> int:
    """The number of a split; `RequestError` naming the ones there are."""
    if name not in SPLITS:
        raise unknown_name_error("split", name, SPLITS)
    return SPLITS.index(name)


class Splits:
    """The split of every episode of one stream, by its ordinal.

    Ordinal `k = episode_in_lane * lanes + lane`. Every block of ten ordinals holds seven episodes for
    training and one for each other purpose, in an order drawn from a hash of the stream and the block:
    balanced at any length, and an episode never changes sides while the stream grows.
    """

    def __init__(self, stream: str) -> None:
        """`stream` is the stream's id."""
        self._stream = stream
        self._table = np.empty(0, np.uint8)

    def of(self, ordinals: np.ndarray) -> np.ndarray:
        """The split numbers (n,) uint8 of episodes `ordinals` (n,)."""
        needed = int(ordinals.max(initial=-1)) + 1
        if needed > len(self._table):
            blocks = range(len(self._table) // 10, max(2 * len(self._table), needed) // 10 + 1)
            self._table = np.concatenate([self._table, *(self._order(block) for block in blocks)])
        return self._table[ordinals]

    def _order(self, block: int) -> np.ndarray:
        """The splits (10,) of one block: a permutation sorted by hash."""
        keys = [
            hashlib.blake2b(f"{self._stream}/{block}/{k}".encode(), digest_size=8).digest() for k in range(10)
        ]
        return _BLOCK[np.argsort(np.frombuffer(b"".join(keys), ">u8"), kind="stable")]
