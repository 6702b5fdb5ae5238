"""Fixtures of the world model tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from world_model_toys import ToyStream, linear, make_trainer

from robossl.world_model import WorldModel


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Use one torch thread: for small networks on a busy machine, synchronization costs more than it saves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained() -> tuple[WorldModel, ToyStream]:
    """A model of `linear` after 300 updates, and its stream."""
    stream = linear(episodes=200)
    trainer = make_trainer(stream)
    trainer.update(300)
    return trainer.ema_model, stream
