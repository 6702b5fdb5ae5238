"""Buffer pool: memory is reused if, and only if, no array refers to it any more."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from robossl.streams import Schema, Stream
from robossl.streams.storage.buffer_pool import BufferPool

SHAPE, KIND = (1000, 500), np.dtype("float32")


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_with_a_live_view_is_not_reused():
    pool = BufferPool()
    original = pool.array(SHAPE, KIND)
    old_address, view = address(original), original[3:5]
    original[:] = 7
    del original
    second = pool.array(SHAPE, KIND)
    second[:] = 8
    assert (view == 7).all()
    tensor = torch.from_numpy(view[0])
    del view
    third = pool.array(SHAPE, KIND)
    third[:] = 9
    assert (tensor == 7).all()
    del tensor
    assert address(pool.array(SHAPE, KIND)) == old_address


def test_only_blocks_of_similar_size_are_reused():
    pool = BufferPool()
    old_address = address(pool.array(SHAPE, KIND))
    assert address(pool.array((100, 500), KIND)) != old_address  # small arrays are not pooled
    assert address(pool.array((1000, 2000), KIND)) != old_address  # larger than the block
    again = pool.array((900, 500), np.dtype("int32"))
    assert address(again) == old_address
    assert again.shape == (900, 500)
    assert again.dtype == np.int32
    assert again.flags.writeable


def test_pool_keeps_at_most_two_blocks():
    pool = BufferPool()
    many = [pool.array(SHAPE, KIND) for _ in range(6)]
    del many
    assert sum(block.nbytes for block in pool._free) <= 2 * 4 * 1000 * 500


def test_later_windows_do_not_overwrite_earlier_ones(tmp_path):
    """Windows in use keep their content, however many are sampled after them."""
    schema = Schema.from_spaces(Box(0, 255, (64, 64, 3), np.uint8), Box(-1, 1, (1,), np.float32))
    with Stream.create(tmp_path / "s", schema, 1) as stream:
        rows = {f.name: np.zeros((200, *f.shape), f.dtype) for f in schema.fields}
        rows["observation"] += np.arange(200, dtype=np.uint8)[:, None, None, None]
        rows["is_first"][0], rows["is_last"][-1], rows["valid"][:-1] = True, True, True
        stream.extend(rows, 0)
        stream.commit()
        windows = []
        for seed in range(6):
            window = stream.windows(64, 3, np.random.default_rng(seed), split=None)
            windows.append(window if seed % 2 else None)
            for kept_window in filter(None, windows):
                expected = kept_window.start[:, None] + np.arange(4)
                assert (kept_window.observation == expected[..., None, None, None]).all()
