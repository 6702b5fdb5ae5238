"""Tests of MuJoCo Warp on its CPU backend; without the extra `warp` none of them is collected.

Kernels compile once on a machine, for several minutes; then the group takes less than 4 minutes on 2 quiet cores.
"""

import importlib.util

import pytest
import robossl.envs

collect_ignore_glob = [] if importlib.util.find_spec("mujoco_warp") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def registered():
    """All tasks are registered."""
    robossl.envs.register()
