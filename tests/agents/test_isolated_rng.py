"""Isolated global generators: no effect on the process, independent sequences, checkpoints."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from robossl.agents.sb3.rng import IsolatedGlobalRNG

from robossl.core.io import load_tree, save_tree


def draw() -> list[float]:
    """Return draws from all global generators."""
    return [
        random.random(),
        random.gauss(0, 1),  # stores a second number
        float(np.random.normal()),  # noqa: NPY002 - so does this one
        float(np.random.rand()),  # noqa: NPY002
        torch.rand(1).item(),
        torch.randn(1).item(),
    ]


def draw_and_fail(randomness: IsolatedGlobalRNG) -> None:
    with randomness.active():
        draw()
        raise KeyError


def draw_inside(randomness: IsolatedGlobalRNG) -> list[float]:
    with randomness.active():
        return draw()


def test_state_outside_does_not_change():
    states = random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002
    randomness = IsolatedGlobalRNG(3)
    draw_inside(randomness)
    with pytest.raises(KeyError):
        draw_and_fail(randomness)
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state()[1:], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_sequence_does_not_depend_on_the_outside():
    alone, disturbed = IsolatedGlobalRNG(3), IsolatedGlobalRNG(3)
    first = [draw_inside(alone) for _ in range(3)]
    second = []
    for seed in range(3):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002
        second.append(draw_inside(disturbed))
    assert first == second
    assert first[0] != first[1]


def test_sequence_equals_that_of_a_seeded_process():
    with IsolatedGlobalRNG(0).active():
        inside = draw()
    with IsolatedGlobalRNG(7).active():
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
        assert draw() == inside


def test_exception_inside_keeps_the_progress():
    one, other = IsolatedGlobalRNG(1), IsolatedGlobalRNG(1)
    draw_inside(one)
    with pytest.raises(KeyError):
        draw_and_fail(other)
    assert draw_inside(one) == draw_inside(other)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_restored_generators_continue_to_the_bit(tmp_path, steps):
    randomness = IsolatedGlobalRNG(5)
    for _ in range(steps):
        draw_inside(randomness)
    save_tree(tmp_path / "random", randomness.get_checkpoint())
    fresh = IsolatedGlobalRNG(99)
    fresh.set_checkpoint(load_tree(tmp_path / "random"))
    assert [draw_inside(fresh) for _ in range(3)] == [draw_inside(randomness) for _ in range(3)]
