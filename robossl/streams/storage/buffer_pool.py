"""Buffer pool: reuse the memory of large batches after their last view is gone."""

from __future__ import annotations

import math
import weakref

import numpy as np

_MIN_BYTES = 1 << 20  # [bytes] below, the allocator is fast enough
_MAX_FREE_BLOCKS = 2  # blocks kept for reuse
_MAX_BYTES = 1 << 28  # [bytes] of a block that is kept


class BufferPool:
    """Allocator of arrays that reuses their memory after the last view of them is gone.

    The operating system clears fresh memory page by page; for a batch of images that takes about as long as filling it.
    """

    def __init__(self) -> None:
        """Create an empty pool."""
        self._free: list[np.ndarray] = []  # blocks of bytes

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an uninitialized array."""
        size = math.prod(shape) * dtype.itemsize
        if not _MIN_BYTES <= size <= _MAX_BYTES:
            return np.empty(shape, dtype)
        fitting = [i for i, block in enumerate(self._free) if size <= block.nbytes <= 2 * size]
        block = self._free.pop(fitting[-1]) if fitting else np.empty(size, np.uint8)
        # views of the new array keep it alive; its finalizer returns the block
        owner = np.frombuffer(block.data, np.uint8, size)
        weakref.finalize(owner, self._reclaim, block).atexit = False
        return owner.view(dtype).reshape(shape)

    def _reclaim(self, block: np.ndarray) -> None:
        self._free.append(block)
        del self._free[:-_MAX_FREE_BLOCKS]
