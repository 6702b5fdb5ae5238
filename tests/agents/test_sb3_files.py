"""What SB3's agents write for others and read of their own, and what they refuse, in words."""

from __future__ import annotations

import base64
import json
import zipfile
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import model_of
from robossl.agents import Sb3Agent
from sb3_runs import SETTINGS, Life, line
from stable_baselines3 import DQN, PPO, SAC, TD3

import robossl
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, save_tree, write_json

SB3 = {"sac": SAC, "td3": TD3, "dqn": DQN, "ppo": PPO}


@pytest.mark.parametrize("name", SETTINGS)
def test_sb3_reads_the_exported_zip(tmp_path, name):
    life = Life(tmp_path / "s", name, line(name), representation=model_of(line(name)))
    life.learn(64)
    before = life.agent.get_checkpoint()
    life.agent.export_zip(tmp_path / "agent.zip")
    np.testing.assert_equal(life.agent.get_checkpoint(), before)
    loaded = SB3[name].load(tmp_path / "agent.zip", device="cpu")
    with zipfile.ZipFile(tmp_path / "agent.zip") as file:
        told = json.loads(file.read("data"))
    for value in told.values():
        pickled = base64.b64decode(value.get(":serialized:", "")) if isinstance(value, dict) else b""
        assert b"robossl" not in pickled, "other tools have no robossl"
    seen, _ = life.envs.reset(seed=1)
    action, _ = loaded.predict(life.agent.features(seen), deterministic=True)
    start = 1 if name == "dqn" else 0
    np.testing.assert_array_equal(action + start, life.agent.act(seen, explore=False))


def test_robossl_reads_no_zip(tmp_path):
    life = Life(tmp_path / "s", "sac", line("sac"))
    folder = tmp_path / "agent"
    folder.mkdir()
    life.agent.export_zip(folder / "agent.zip")
    with pytest.raises(UsageError, match=r"no file .*agent\.json"):
        Sb3Agent.load(folder, line("sac"))


def refused(
    match: str, name: str = "sac", envs: Any = None, representation: Any = None, **given: Any
) -> None:
    with pytest.raises(UsageError, match=match):
        Sb3Agent(name, envs or line("sac"), representation, **given)


def test_what_does_not_fit_is_refused_naming_what_does():
    refused("sac needs Box actions; this env has Discrete.*what fits: ppo, dqn", envs=line("dqn"))
    refused("dqn needs Discrete actions; this env has Box.*what fits: sac, td3, ppo", "dqn")
    refused("no 'sca' among the SB3 agents; did you mean 'sac'", "sca")
    refused("no 'frosen' among the modes", mode="frosen")
    refused("mode is raw, and a representation was given", representation=model_of(line("sac")), mode="raw")
    boundless = line("sac")
    boundless.single_action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    refused("bounds on both sides", envs=boundless)
    boundless.single_action_space = gym.spaces.Box(0, 9, (1,), np.int64)
    refused("actions of floats", envs=boundless)
    boundless.single_action_space = gym.spaces.MultiBinary(2)
    refused("what fits: nothing", envs=boundless)
    refused("hindsight is 2, expected 0 to 1", hindsight=2)
    refused("updates_per_step is 0, expected more", updates_per_step=0)
    refused("no device 'warp'", device="warp")


def test_settings_are_known_and_plain():
    refused("no 'gama' among the sac settings; did you mean 'gamma'", gama=0.9)
    refused("no 'gradient_steps' among the sac settings.*updates_per_step", gradient_steps=3)
    refused("no 'buffer_size' among", buffer_size=3)
    refused("expected numbers, words, lists and dicts", policy_kwargs={"activation_fn": torch.nn.ReLU})
    refused("expected numbers", gamma=float("nan"))
    agent = Sb3Agent("sac", line("sac"), device="cpu", gamma=0.9, action_noise=0.3)
    assert agent.algorithm.gamma == 0.9
    assert agent.algorithm.action_noise._sigma.tolist() == [0.3]


def test_an_agent_that_replays_needs_a_recorder_to_learn():
    envs = line("sac")
    agent = Sb3Agent("sac", envs, device="cpu")
    assert agent.act(np.zeros((2, 2), np.float32)).shape == (2, 1)
    with pytest.raises(UsageError, match="sac replays a stream; its envs must be a Recorder"):
        agent.learn(envs, 10)
    with pytest.raises(UsageError, match="learns in the envs it was made with"):
        agent.learn(line("sac"), 10)


def test_a_checkpoint_of_another_agent_is_refused(tmp_path):
    tree = Life(tmp_path / "a", "sac", line("sac")).agent.get_checkpoint()
    small = {"policy_kwargs": {"net_arch": [8]}}
    for n, (name, given) in enumerate([("td3", {}), ("sac", small), ("sac", {"ent_coef": 0.1})]):
        other = Life(tmp_path / str(n), name, line(name), **given).agent
        with pytest.raises(UsageError, match="another size or kind"):
            other.set_checkpoint(tree)


def test_a_wrong_env_is_refused_in_words(tmp_path):
    Life(tmp_path / "s", "sac", line("sac")).agent.save(tmp_path / "agent")
    with pytest.raises(UsageError, match=r"was made for actions Box.*this env has Discrete"):
        Sb3Agent.load(tmp_path / "agent", line("dqn"))
    pendulum = robossl.make("Pendulum-v1", 1, 1)
    with pytest.raises(UsageError, match="was made for observations Box"):
        Sb3Agent.load(tmp_path / "agent", pendulum)


def test_damaged_folders_are_told_as_such(tmp_path):
    folder = tmp_path / "agent"
    Life(tmp_path / "s", "sac", line("sac")).agent.save(folder)
    card = read_json(folder / "agent.json")
    for change, error, words in [
        ({"format": 99}, UsageError, "of format 1"),
        ({"settings": None}, CorruptedFileError, "settings is None; expected dict"),
        ({"settings": {"seed": 3}}, CorruptedFileError, "seed among the settings"),
        ({"settings": {"gama": 3}}, UsageError, "no 'gama'"),
        ({"agent": "sca"}, UsageError, "no 'sca'"),
        ({"observation_space": {"type": "Car"}}, UsageError, "Car"),
        ({"representation": 3}, UsageError, "no file"),
    ]:
        write_json(folder / "agent.json", {**card, **change})
        with pytest.raises(error, match=words):
            Sb3Agent.load(folder, line("sac"), "cpu")
    write_json(folder / "agent.json", card)
    save_tree(folder / "agent.safetensors", {"policy": {}})
    with pytest.raises(CorruptedFileError, match="does not hold what an agent has learned"):
        Sb3Agent.load(folder, line("sac"), "cpu")
    data = bytearray((folder / "agent.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "agent.safetensors").write_bytes(data)
    with pytest.raises(CorruptedFileError):
        Sb3Agent.load(folder, line("sac"), "cpu")


def test_no_file_says_where_to_write(tmp_path):
    life = Life(tmp_path / "s", "sac", line("sac"), tensorboard_log=str(tmp_path / "log"))
    life.agent.save(tmp_path / "agent")
    card = json.loads((tmp_path / "agent" / "agent.json").read_text())
    assert "tensorboard_log" not in card["settings"]
    card["settings"]["tensorboard_log"] = str(tmp_path / "elsewhere")
    write_json(tmp_path / "agent" / "agent.json", card)
    assert Sb3Agent.load(tmp_path / "agent", line("sac"), "cpu").algorithm.tensorboard_log is None


def test_only_world_models_are_saved(tmp_path):
    stranger = SimpleNamespace(latent=1, version=0, encode=lambda seen: np.asarray(seen)[:, :1])
    agent = Life(tmp_path / "s", "sac", line("sac"), representation=stranger).agent
    with pytest.raises(UsageError, match="only an agent on a WorldModel can be saved"):
        agent.save(tmp_path / "agent")
    assert not (tmp_path / "agent").exists()
