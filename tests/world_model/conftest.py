"""Small networks on a busy machine: threads that wait for one another cost more than they bring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from world_model_toys import DREAMER, ToyStream, linear

from robossl.world_model import WorldModel, WorldModelTrainer


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """One torch thread for the tests of this room."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> tuple[WorldModel, ToyStream]:
    """A model of the linear world, good enough to dream in."""
    stream = linear(episodes=200)
    model = WorldModel(DREAMER, stream.observation_space, stream.action_space)
    WorldModelTrainer(model, stream, device="cpu").update(300)
    return model, stream
