"""Memory for large batches, used again when nobody holds the batch any more."""

from __future__ import annotations

import math
import weakref

import numpy as np

_LARGE = 1 << 20  # [bytes] below, the allocator is quick enough
_KEPT = 2  # blocks that wait to be used again
_LARGEST = 1 << 28  # [bytes] of a block that is kept


class BufferPool:
    """Gives arrays out and takes their memory back when the last view of them is gone.

    Fresh memory has to be cleared page by page by the operating system; for a batch of pictures that takes
    about as long as filling it.
    """

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._free: list[np.ndarray] = []  # blocks of bytes

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array with anything in it."""
        size = math.prod(shape) * dtype.itemsize
        if not _LARGE <= size <= _LARGEST:
            return np.empty(shape, dtype)
        fitting = [i for i, block in enumerate(self._free) if size <= block.nbytes <= 2 * size]
        block = self._free.pop(fitting[-1]) if fitting else np.empty(size, np.uint8)
        # a new array over the block: what is made of it keeps it alive, and the block learns of its end
        given = np.frombuffer(block.data, np.uint8, size)
        weakref.finalize(given, self._back, block).atexit = False
        return given.view(dtype).reshape(shape)

    def _back(self, block: np.ndarray) -> None:
        self._free.append(block)
        del self._free[:-_KEPT]
