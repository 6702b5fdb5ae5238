"""Fixtures of the env tests."""

import gymnasium as gym
import pytest
import robossl.envs
from capabilities import require

from robossl.core.errors import OperationError


@pytest.fixture(scope="session")
def gl() -> None:
    """Require that this machine can render; where it cannot, the env raises OperationError."""
    env = gym.make(robossl.envs.register()[0], render_mode="rgb_array", render_size=(8, 8))
    env.reset(seed=0)
    reason = ""
    try:
        env.render()
    except OperationError as error:
        reason = str(error)
    finally:
        env.close()
    require(not reason, reason)
