"""Threads: one for small networks, as many as before afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robossl.core.threads import is_small, one_thread


@pytest.mark.parametrize(("used", "inside"), [(True, 1), (False, 2)])
def test_threads_are_restored_also_after_an_error(used, inside):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread(used):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="stop"), one_thread(used):
            raise ValueError("stop")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_wide_layers_and_convolutions_are_not_small():
    assert is_small(nn.Sequential(nn.Linear(300, 256), nn.Linear(256, 256)).parameters())
    assert is_small([nn.Parameter(torch.zeros(5, 256, 256))])  # the heads of an ensemble
    assert not is_small([nn.Parameter(torch.zeros(5, 1024, 1024))])
    assert not is_small(nn.Linear(1024, 1024).parameters())
    assert not is_small(nn.Conv2d(3, 8, 3).parameters())
