"""Environments of other packages work on an older MuJoCo, and what needs a newer one is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from packaging.version import Version

from robossl import make
from robossl.core.errors import UsageError

pytestmark = [
    pytest.mark.skipif(
        Version(version("mujoco")) >= Version("3.17"), reason="make compat-mujoco installs an older MuJoCo"
    ),
    pytest.mark.timeout(1800),
]
ENVS = {
    "HalfCheetah-v5": {},
    "gymnasium_robotics:FetchReach-v4": {},
    "gymnasium_robotics:FrankaKitchen-v1": {},
    "gymnasium_robotics:AdroitHandDoor-v1": {},
    "gymnasium_robotics:PointMaze_UMaze-v3": {},
    "shimmy:dm_control/cartpole-swingup-v0": {},
    "shimmy:dm_control/humanoid-walk-v0": {},
    "gym_aloha:gym_aloha/AlohaInsertion-v0": {},
    "metaworld:Meta-World/MT1": {"env_name": "reach-v3"},
}


def robossl(folder, *arguments: str) -> str:
    """Run a command in a process of its own, because several of these packages open OpenGL in their own way."""
    command = [sys.executable, "-m", "robossl.cli.main", *arguments, "--quiet"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.parametrize("env", ENVS)
def test_env_of_another_package_is_recorded_and_learned(env, tmp_path) -> None:
    flags = [part for key, value in ENVS[env].items() for part in (f"--env.{key}", value)]
    robossl(tmp_path, "collect", env, *flags, "--steps", "64", "--num-envs", "2", "--out", "stream")
    small = ("--updates", "2", "--world_model.batch_size", "16")  # images of gym_aloha have 480 x 640 pixels
    assert "latent dimension" in robossl(tmp_path, "pretrain", "stream", *small, "--out", "model")


@pytest.mark.parametrize("env", ["robossl/Reacher-v0", "robot.xml"])
def test_robots_name_the_version_that_they_need(env, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.xml").write_text("<mujoco/>")
    with pytest.raises(UsageError, match=r"expected mujoco 3\.17 or newer.*pip install") as error:
        make(env)
    assert "\n" not in str(error.value)
