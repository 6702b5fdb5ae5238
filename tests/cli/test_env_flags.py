"""Flags of the env on the command line: they reach every command, and later commands make the same env again."""

from __future__ import annotations

import sys
from contextlib import closing

import pytest
from cli_runner import fail, robossl, succeed

from robossl import registry
from robossl.cli.env_flags import split_env_flags
from robossl.core.errors import UsageError
from robossl.core.io import read_json
from robossl.training import agent_loading

SOURCE = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces

class Sized(gym.Env):
    def __init__(self, size, render_mode=None):
        self.observation_space = spaces.Dict(q=spaces.Box(-9, 9, (size,), np.float32), word=spaces.Text(9))
        self.action_space = spaces.MultiDiscrete([3, 2])
    def observe(self):
        return {"q": np.full(self.observation_space["q"].shape, np.sin(self.t), np.float32), "word": "a"}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0
        return self.observe(), {}
    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return self.observe(), float(self.t), False, False, {"solved": self.t > 3, "cost": 0.5, "speed": 1.0}

class Doubled(gym.RewardWrapper):
    def __init__(self, env, factor=2.0):
        super().__init__(env); self.factor = factor
    def reward(self, reward):
        return self.factor * reward

if "flags/Sized-v0" not in gym.registry:
    gym.register("flags/Sized-v0", entry_point="flagged_env:Sized", max_episode_steps=10)
"""
NAME = "flagged_env:flags/Sized-v0"
FLAGS = (
    "--env.size",
    "4",
    "--wrap",
    "flagged_env:Doubled?factor=3",
    "--success",
    "solved",
    "--info",
    "speed",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module that registers an env."""
    (tmp_path / "flagged_env.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("flagged_env", None)


def test_flags_are_recorded_and_used_again_by_later_commands(folder, monkeypatch) -> None:
    succeed(folder, "collect", NAME, *FLAGS, "--steps", "600", "--num-envs", "2", "--out", "s", "--quiet")
    manifest = read_json(folder / "s" / "manifest.json")
    assert manifest["env"] == (
        f"{NAME}?size=4&+wrap=flagged_env:Doubled?factor=3&+info=speed&+success=solved"
    )
    info = succeed(folder, "stream", "info", "s", "--json").document
    assert info["transitions"] == 600
    pretrained = robossl(folder, "pretrain", "s", "--updates", "2", "--out", "m", "--quiet")
    assert pretrained.code == 0, pretrained.stderr
    del sys.modules["flagged_env"]
    refused = fail(folder, "evaluate", "m", "--no-videos", "--quiet", "--out", "e")
    assert "--trust-env 'flagged_env:flags/Sized-v0?size=4&" in refused
    succeed(folder, "stream", "info", "s")  # needs no env
    monkeypatch.syspath_prepend(str(folder))
    registry.trust_env(manifest["env"])
    with closing(registry.make_envs(agent_loading.env_of(folder / "m"), 1)) as envs:
        envs.reset(seed=0)
        _, reward, _, _, infos = envs.step(envs.action_space.sample())
        assert reward.tolist() == [3.0]
        assert infos["is_success"].tolist() == [False]


def test_an_argument_that_the_constructor_does_not_have_is_named_in_one_line(folder) -> None:
    assert "size" in fail(folder, "collect", NAME, "--steps", "10", "--quiet")
    assert "unexpected keyword argument 'sizes'" in fail(
        folder, "collect", NAME, "--env.sizes", "3", "--quiet"
    )
    assert "does not take pixel" in fail(folder, "collect", "robossl/CartPoleSwingUp-v0", "--env.pixel", "3")
    assert "no package 'nowhere'" in fail(folder, "collect", NAME, "--env.size", "3", "--wrap", "nowhere:W")
    assert "no part 'x'" in fail(folder, "collect", NAME, "--env.size", "3", "--observe", "x", "--quiet")


def test_flags_need_a_value_and_a_command_with_an_env(folder) -> None:
    assert "--env.size has no value" in fail(folder, "collect", NAME, "--env.size")
    assert "--env.size" in fail(folder, "stream", "info", "s", "--env.size", "3")
    assert "expected --env" in fail(folder, "evaluate", "m", "--env.size", "3")


def test_values_of_flags_are_json_or_text() -> None:
    others, flags = split_env_flags(
        [
            "A-v0",
            "--env.a=1",
            "--env.b.c",
            "-2.5",
            "--env.d",
            "True",
            "--env.e",
            "go",
            "--seed",
            "3",
            "--observe=x,y",
        ]
    )
    assert others == ["A-v0", "--seed", "3"]
    assert flags.arguments == {"a": 1, "b.c": -2.5, "d": True, "e": "go"}
    assert flags.apply("A-v0") == 'A-v0?a=1&b={"c":-2.5}&d=true&e=go&+observe=x&+observe=y'
    with pytest.raises(UsageError, match="has no value"):
        split_env_flags(["--wrap", "--quiet"])


def test_robot_arguments_have_short_flags() -> None:
    args = [
        "--camera",
        "side",
        "--keyframe=1",
        "--reward",
        "forward=1 + effort",
        "--sensors",
        "a,b",
        "--seed",
        "3",
    ]
    others, flags = split_env_flags(args)
    assert others == ["--seed", "3"]
    assert flags.arguments == {
        "camera": "side",
        "keyframe": 1,
        "reward": "forward=1 + effort",
        "sensors": "a,b",
    }
    assert "reward=forward=1%20+%20effort" in flags.apply("my_robot.xml")


def test_a_stream_of_a_robot_file_is_relabeled_with_the_reward_of_a_flag(tmp_path) -> None:
    (tmp_path / "arm.xml").write_text(
        '<mujoco><worldbody><body><joint name="j" axis="0 1 0" range="-90 90" damping=".1"/>'
        '<geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03"/></body></worldbody>'
        '<actuator><motor joint="j" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    succeed(tmp_path, "collect", "arm.xml", "--steps", "60", "--num-envs", "2", "--out", "s", "--quiet")
    relabel = ("stream", "relabel", "s", "--task", "arm.xml", "--reward", "qpos.j", "--out", "r", "--quiet")
    document = succeed(tmp_path, *relabel, "--json").document
    assert 0.3 < document["reward_mean"] < 0.7
    assert read_json(tmp_path / "r" / "manifest.json")["env"].endswith("arm.xml?reward=qpos.j")
