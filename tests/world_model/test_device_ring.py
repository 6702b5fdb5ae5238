"""Windows of a ring are the newest steps of the sub-environments that are not recorded."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from robossl.core.errors import UsageError
from robossl.world_model.device_ring import DeviceRing

SPACE = Dict({"number": Box(-1e6, 1e6, (2,), np.float32)})
ACTIONS = Box(-1e6, 1e6, (1,), np.float32)
CPU = torch.device("cpu")


def observation(step, num_envs=4):
    """Step and number of each sub-environment."""
    return {"number": np.stack([np.full(num_envs, step), np.arange(num_envs)], 1).astype(np.float32)}


def filled(steps, rows=8, skip=1, ends=()):
    """Return a ring with actions that equal the number of their step."""
    ring = DeviceRing(SPACE, ACTIONS, 4, skip, rows, CPU)
    ring.begin(observation(0))
    for step in range(steps):
        done = np.full(4, step in ends)
        ring.append(np.full((4, 1), step, np.float32), done, observation(step + 1))
    return ring


@pytest.mark.parametrize("steps", [5, 7, 8, 23])
def test_windows_are_consecutive_steps_of_one_sub_environment(steps):
    window = filled(steps).windows(64, 3, np.random.default_rng(0))
    step, lane = window.observation["number"].unbind(-1)
    assert window.action.shape == (64, 3, 1)
    assert torch.equal(step[:, 1:], step[:, :1] + torch.arange(1, 4))
    assert torch.equal(step[:, :-1], window.action[..., 0])
    assert (lane == lane[:, :1]).all()
    assert set(lane.flatten().tolist()) == {1.0, 2.0, 3.0}  # sub-environment 0 is recorded
    assert window.valid.all()
    assert step.max() == steps
    assert step.min() == max(0, steps - 7)  # the newest 8 rows, of which the last one has no action yet


def test_step_after_an_end_is_not_valid():
    """After the end in step 3, step 4 only begins a new episode."""
    window = filled(7, ends=(3,)).windows(256, 3, np.random.default_rng(0))
    assert torch.equal(window.valid, window.action[..., 0] != 4)
    assert window.valid[:, 0].all()


def test_checkpoint_gives_the_same_windows():
    ring, other = filled(11, ends=(5,)), DeviceRing(SPACE, ACTIONS, 4, 1, 8, CPU)
    other.set_checkpoint(ring.get_checkpoint())
    one, two = (r.windows(16, 2, np.random.default_rng(1)) for r in (ring, other))
    assert torch.equal(one.observation["number"], two.observation["number"])
    assert torch.equal(one.valid, two.valid)


def test_ring_with_too_few_steps_is_one_line():
    with pytest.raises(UsageError, match="expected 5 or more steps in the ring, got 2"):
        filled(2).windows(4, 5, np.random.default_rng(0))
    with pytest.raises(UsageError, match="ring_steps: expected 2 or more"):
        DeviceRing(SPACE, ACTIONS, 4, 1, 1, CPU)


def test_memory_is_counted():
    assert DeviceRing.num_bytes(SPACE, ACTIONS, 3, 8) == 3 * 8 * (2 * 4 + 4 + 1)
