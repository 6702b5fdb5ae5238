"""Every task on MuJoCo Warp follows MuJoCo's own batch over a whole episode, and ends with it."""

import numpy as np
import pytest
import robossl.envs
from warp_pairs import follow, make_c, make_warp, numbers

pytestmark = pytest.mark.slow

# by robot: largest difference of observed numbers over an episode, of the median and of the worst sub-environment
BOUNDS = {
    "cartpole": (2e-5, 1e-4),
    "reacher": (2e-5, 1e-4),
    "pointmaze": (2e-5, 1e-4),
    "pusht": (1e-3, 0.05),
    "cheetah": (0.02, 1.0),
    "hopper": (0.05, 5.0),
    "walker": (0.05, 5.0),
    "quadruped": (0.05, 5.0),
    "humanoid": (0.02, 1.0),
    "arm": (1e-3, 0.05),
    "hand": (0.05, 5.0),
}
TASKS = [i.removeprefix("robossl/").removesuffix("-v0") for i in robossl.envs.register()]


@pytest.mark.parametrize("name", TASKS)
def test_task_follows_c_over_an_episode(name, record_property):
    warp, own = make_warp(name), make_c(name)
    first, _ = warp.reset(seed=0)
    other, _ = own.reset(seed=0)
    # equal but for the 0.1 mm by which touching bodies are lifted
    assert np.abs(warp.get_physics_state().numpy() - own.get_physics_state()).max() < 1.1e-4
    assert np.abs(numbers(first) - numbers(other)).max() < 2.5e-3
    steps = warp.simulation.task.max_episode_steps
    apart, rewards, ends, own_ends = follow(warp, own, steps)
    np.testing.assert_array_equal(ends, own_ends)
    assert ends[-1].any() or name == "HandTurn"
    worst = apart.max(0)
    median, largest = BOUNDS[warp.metadata["robot"].split("/")[0]]
    record_property("median", float(np.median(worst)))
    record_property("worst", float(worst.max()))
    assert np.median(worst) <= median, f"median {np.median(worst):.2g}, worst {worst.max():.2g}"
    assert worst.max() <= largest, f"median {np.median(worst):.2g}, worst {worst.max():.2g}"
    assert np.median(rewards.max(0)) <= median
    assert warp.num_physics_errors == 0
    warp.close()
    own.close()
