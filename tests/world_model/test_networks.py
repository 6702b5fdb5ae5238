"""Linear skip connections preserve the input scale, and start at zero in the dynamics."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from robossl.world_model.config import default_config_for
from robossl.world_model.networks import MLP, DynamicsEnsemble

VECTOR, IMAGE = spaces.Box(-1, 1, (4,)), spaces.Box(0, 255, (64, 64, 3), np.uint8)


def test_only_the_linear_skip_of_an_mlp_scales_with_large_inputs() -> None:
    torch.manual_seed(0)
    x = 1e4 * torch.randn(32, 4)
    for linear_skip, ratio in ((True, 2.0), (False, 1.0)):
        network = MLP(4, (64, 64), 3, linear_skip)
        with torch.no_grad():
            once, twice = network(x), network(2 * x)
        torch.testing.assert_close(twice, ratio * once, rtol=0.05, atol=0.05)


def test_linear_skip_of_a_dynamics_head_starts_at_zero_and_affects_that_head_only() -> None:
    ensembles = []
    for linear_skip in (True, False):
        torch.manual_seed(0)
        ensembles.append(DynamicsEnsemble(8, 2, (16,), 3, linear_skip))
    with_skip, without = ensembles
    z, action = torch.randn(3, 5, 8), torch.randn(3, 5, 2)
    with torch.no_grad():
        torch.testing.assert_close(with_skip(z, action), without(z, action))
        with_skip.skip[1].fill_(0.5).mul_(torch.randn(10, 8))
        changed = with_skip(z, action) != without(z, action)
    assert changed[1].all()
    assert not changed[[0, 2]].any()


def test_only_the_pixel_config_has_no_linear_skip() -> None:
    assert default_config_for(VECTOR).linear_skip
    assert default_config_for(spaces.Dict(vector=VECTOR, image=IMAGE)).linear_skip
    assert not default_config_for(IMAGE).linear_skip
