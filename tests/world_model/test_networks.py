"""What is large gets past the norms where a straight line leads past them, and only there."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from robossl.world_model.config import default_config_for
from robossl.world_model.networks import MLP, Ensemble

NUMBERS, PICTURES = spaces.Box(-1, 1, (4,)), spaces.Box(0, 255, (64, 64, 3), np.uint8)


def test_a_perceptron_says_twice_as_much_of_twice_as_much_by_its_straight_line_alone() -> None:
    torch.manual_seed(0)
    x = 1e4 * torch.randn(32, 4)
    for straight, ratio in ((True, 2.0), (False, 1.0)):
        network = MLP(4, (64, 64), 3, straight)
        with torch.no_grad():
            once, twice = network(x), network(2 * x)
        torch.testing.assert_close(twice, ratio * once, rtol=0.05, atol=0.05)


def test_the_straight_line_of_a_head_begins_at_nothing_and_carries_what_it_learns() -> None:
    heads = []
    for straight in (True, False):
        torch.manual_seed(0)
        heads.append(Ensemble(8, 2, (16,), 3, straight))
    z, action = torch.randn(3, 5, 8), torch.randn(3, 5, 2)
    with torch.no_grad():
        torch.testing.assert_close(heads[0](z, action), heads[1](z, action))
        heads[0].skip[1].fill_(0.5).mul_(torch.randn(10, 8))
        moved = heads[0](z, action) != heads[1](z, action)
    assert moved[1].all()
    assert not moved[[0, 2]].any()


def test_only_the_recipe_for_pixels_does_without() -> None:
    assert default_config_for(NUMBERS).linear_skip
    assert default_config_for(spaces.Dict(numbers=NUMBERS, pictures=PICTURES)).linear_skip
    assert not default_config_for(PICTURES).linear_skip
