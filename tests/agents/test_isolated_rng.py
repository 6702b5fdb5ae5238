"""The global generators are lent and given back; each borrower has a life of its own."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from robossl.agents.sb3.rng import IsolatedGlobalRNG

from robossl.core.io import load_tree, save_tree


def draw() -> list[float]:
    """From everything global."""
    return [
        random.random(),
        random.gauss(0, 1),  # keeps a second number back
        float(np.random.normal()),  # noqa: NPY002 - so does this one
        float(np.random.rand()),  # noqa: NPY002
        torch.rand(1).item(),
        torch.randn(1).item(),
    ]


def broken(randomness: IsolatedGlobalRNG) -> None:
    with randomness.active():
        draw()
        raise KeyError


def lent(randomness: IsolatedGlobalRNG) -> list[float]:
    with randomness.active():
        return draw()


def test_nothing_outside_changes():
    states = random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002
    randomness = IsolatedGlobalRNG(3)
    lent(randomness)
    with pytest.raises(KeyError):
        broken(randomness)
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state()[1:], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_its_life_goes_on_whatever_happens_outside():
    alone, disturbed = IsolatedGlobalRNG(3), IsolatedGlobalRNG(3)
    first = [lent(alone) for _ in range(3)]
    second = []
    for seed in range(3):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002
        second.append(lent(disturbed))
    assert first == second
    assert first[0] != first[1]


def test_it_is_as_if_the_process_had_been_seeded():
    with IsolatedGlobalRNG(0).active():
        here = draw()
    with IsolatedGlobalRNG(7).active():
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
        assert draw() == here


def test_an_error_inside_does_not_set_it_back():
    one, other = IsolatedGlobalRNG(1), IsolatedGlobalRNG(1)
    lent(one)
    with pytest.raises(KeyError):
        broken(other)
    assert lent(one) == lent(other)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_goes_on_to_the_bit(tmp_path, steps):
    randomness = IsolatedGlobalRNG(5)
    for _ in range(steps):
        lent(randomness)
    save_tree(tmp_path / "random", randomness.get_checkpoint())
    fresh = IsolatedGlobalRNG(99)
    fresh.set_checkpoint(load_tree(tmp_path / "random"))
    assert [lent(fresh) for _ in range(3)] == [lent(randomness) for _ in range(3)]
