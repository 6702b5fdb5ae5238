"""What the env tests share."""

import gymnasium as gym
import pytest
import robossl.envs

from robossl.core.errors import OperationError


@pytest.fixture(scope="session")
def gl() -> None:
    """Pictures can be drawn on this machine; where not, the answer is a clear one."""
    env = gym.make(robossl.envs.register()[0], render_mode="rgb_array", render_size=(8, 8))
    env.reset(seed=0)
    try:
        env.render()
    except OperationError as error:
        pytest.skip(str(error))
    finally:
        env.close()
