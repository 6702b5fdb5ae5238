"""Law: a control step with more substeps gives the same physics, observed less often."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs

from robossl.core.errors import UsageError

robossl.envs.register()
ENV = "robossl/Reacher-v0"


def test_double_substeps_equal_two_steps_of_one_action() -> None:
    short, long = gym.make_vec(ENV, num_envs=3), gym.make_vec(ENV, num_envs=3, substeps=4)
    assert long.metadata["step_seconds"] == 2 * short.metadata["step_seconds"]
    first, second = short.reset(seed=0)[0], long.reset(seed=0)[0]
    np.testing.assert_array_equal(first["observation"], second["observation"])
    random = np.random.default_rng(0)
    for _ in range(5):
        action = random.uniform(-1, 1, (3, 2)).astype(np.float32)
        short.step(action)
        np.testing.assert_array_equal(
            short.step(action)[0]["observation"], long.step(action)[0]["observation"]
        )
    single = gym.make(ENV, substeps=4)
    single.reset(seed=0)
    assert single.unwrapped.simulation.substeps == 4


def test_zero_substeps_are_refused() -> None:
    with pytest.raises(UsageError, match="substeps: expected 1 or more, got 0"):
        gym.make_vec(ENV, num_envs=1, substeps=0)
