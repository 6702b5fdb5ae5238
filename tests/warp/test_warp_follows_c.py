"""Every task on MuJoCo Warp follows MuJoCo's own batch over a whole episode, and ends with it."""

import numpy as np
import pytest
import robossl.envs
from warp_pairs import follow, make_c, make_warp, numbers

pytestmark = pytest.mark.slow

# by robot: control steps after which MuJoCo's batch is put into the state of Warp's again, as the motion amplifies
# every difference (None: never within an episode), and the difference of observed numbers that 90 % of the steps do not
# exceed, in the median and in the worst sub-environment
BOUNDS = {
    "cartpole": (10, 1e-5, 5e-5),
    "reacher": (None, 1e-5, 5e-5),
    "pointmaze": (None, 1e-4, 5e-4),
    "pusht": (None, 5e-5, 5e-4),
    "cheetah": (10, 5e-5, 2e-4),
    "hopper": (10, 4e-4, 2e-3),
    "walker": (10, 4e-4, 2e-3),
    "quadruped": (10, 5e-5, 2e-4),
    "humanoid": (10, 5e-5, 2e-4),
    "arm": (None, 5e-5, 2e-4),
    "hand": (10, 1e-4, 5e-4),
}
TASKS = [i.removeprefix("robossl/").removesuffix("-v0") for i in robossl.envs.register()]


@pytest.mark.parametrize("name", TASKS)
def test_task_follows_c_over_an_episode(name):
    warp, own = make_warp(name), make_c(name)
    first, _ = warp.reset(seed=0)
    other, _ = own.reset(seed=0)
    # equal but for the 0.1 mm by which touching bodies are lifted
    assert np.abs(warp.get_physics_state().numpy() - own.get_physics_state()).max() < 1.1e-4
    assert np.abs(numbers(first) - numbers(other)).max() < 2.5e-3
    steps = warp.simulation.task.max_episode_steps
    segment, median, largest = BOUNDS[warp.metadata["robot"].split("/")[0]]
    apart, rewards, ends, own_ends = follow(warp, own, steps, segment=segment)
    np.testing.assert_array_equal(ends, own_ends)
    assert ends[-1].any() or name == "HandTurn"
    typical = np.quantile(apart, 0.9, axis=0)
    found = f"median {np.median(typical):.2g}, worst {typical.max():.2g}"
    assert np.median(typical) <= median, found
    assert typical.max() <= largest, found
    assert np.quantile(rewards, 0.9) <= median
    assert warp.num_physics_errors == 0
    warp.close()
    own.close()
