"""The law of the shelf: memory is used again when, and only when, nobody can see it any more."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from robossl.streams import Schema, Stream
from robossl.streams.storage.buffer_pool import BufferPool

SHAPE, KIND = (1000, 500), np.dtype("float32")


def where(array: np.ndarray) -> int:
    return array.ctypes.data


def test_what_is_held_is_not_given_out_again():
    shelf = BufferPool()
    first = shelf.array(SHAPE, KIND)
    place, view = where(first), first[3:5]
    first[:] = 7
    del first
    other = shelf.array(SHAPE, KIND)
    other[:] = 8
    assert (view == 7).all()
    tensor = torch.from_numpy(view[0])
    del view
    third = shelf.array(SHAPE, KIND)
    third[:] = 9
    assert (tensor == 7).all()
    del tensor
    assert where(shelf.array(SHAPE, KIND)) == place


def test_only_memory_of_about_the_size_is_used_again():
    shelf = BufferPool()
    place = where(shelf.array(SHAPE, KIND))
    assert where(shelf.array((100, 500), KIND)) != place  # small ones are the allocator's
    assert where(shelf.array((1000, 2000), KIND)) != place  # too large for it
    again = shelf.array((900, 500), np.dtype("int32"))
    assert where(again) == place
    assert again.shape == (900, 500)
    assert again.dtype == np.int32
    assert again.flags.writeable


def test_little_waits_on_the_shelf():
    shelf = BufferPool()
    many = [shelf.array(SHAPE, KIND) for _ in range(6)]
    del many
    assert sum(block.nbytes for block in shelf._free) <= 2 * 4 * 1000 * 500


def test_batches_of_pictures_do_not_write_over_each_other(tmp_path):
    """Windows that are kept stay as they were, however many are drawn after them."""
    schema = Schema.of(Box(0, 255, (64, 64, 3), np.uint8), Box(-1, 1, (1,), np.float32))
    with Stream.create(tmp_path / "s", schema, 1) as stream:
        rows = {f.name: np.zeros((200, *f.shape), f.dtype) for f in schema.fields}
        rows["observation"] += np.arange(200, dtype=np.uint8)[:, None, None, None]
        rows["is_first"][0], rows["is_last"][-1], rows["valid"][:-1] = True, True, True
        stream.extend(rows, 0)
        stream.commit()
        kept = []
        for seed in range(6):
            window = stream.windows(64, 3, np.random.default_rng(seed), split=None)
            kept.append(window if seed % 2 else None)
            for held in filter(None, kept):
                expected = held.start[:, None] + np.arange(4)
                assert (held.observation == expected[..., None, None, None]).all()
