"""Files of SB3 agents: SB3's zip, saving and loading; rejected settings, envs and damaged files."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import model_of
from sb3_runs import SETTINGS, AgentRun, make_agent, make_line
from stable_baselines3 import DQN, PPO, SAC, TD3

from robossl import registry
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, save_tree, write_json

SB3 = {"sac": SAC, "td3": TD3, "dqn": DQN, "ppo": PPO}


@pytest.mark.parametrize("name", SETTINGS)
def test_sb3_reads_the_exported_zip(tmp_path, name):
    model = model_of(make_line(name))
    run = AgentRun(tmp_path / "s", name, make_line(name), representation=model, observe="latent")
    run.learn(64)
    before = run.agent.get_checkpoint()
    run.agent.export_zip(tmp_path / "agent.zip")
    np.testing.assert_equal(run.agent.get_checkpoint(), before)
    loaded = SB3[name].load(tmp_path / "agent.zip", device="cpu")
    with zipfile.ZipFile(tmp_path / "agent.zip") as file:
        data = json.loads(file.read("data"))
    for value in data.values():
        pickled = base64.b64decode(value.get(":serialized:", "")) if isinstance(value, dict) else b""
        assert b"robossl" not in pickled, "other tools do not have robossl"
    observation, _ = run.envs.reset(seed=1)
    action, _ = loaded.predict(run.agent.features(observation), deterministic=True)
    start = 1 if name == "dqn" else 0
    np.testing.assert_array_equal(action + start, run.agent.act(observation, explore=False))


def test_robossl_reads_no_zip(tmp_path):
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    folder = tmp_path / "agent"
    folder.mkdir()
    run.agent.export_zip(folder / "agent.zip")
    with pytest.raises(UsageError, match=r"no file .*sb3\.json"):
        type(run.agent).load(folder, make_line("sac"))


def with_actions(space: gym.Space) -> Any:
    """Return envs with another action space."""
    envs = make_line("sac")
    envs.single_action_space = space
    return envs


def check_rejected(
    match: str, name: str = "sac", envs: Any = None, representation: Any = None, **settings: Any
) -> None:
    """Check that creating an agent fails with this message."""
    with pytest.raises(UsageError, match=match):
        make_agent(name, envs or make_line("sac"), representation, **settings)


def test_unsupported_action_spaces_are_rejected():
    check_rejected("sac needs Box actions; this env has Discrete", envs=make_line("dqn"))
    check_rejected("dqn needs Discrete actions; this env has Box", "dqn")
    check_rejected(
        "ppo needs Box or Discrete actions; this env has MultiBinary",
        "ppo",
        with_actions(gym.spaces.MultiBinary(2)),
    )
    check_rejected("bounds on both sides", envs=with_actions(gym.spaces.Box(-np.inf, np.inf, (1,))))
    check_rejected("float actions", envs=with_actions(gym.spaces.Box(0, 9, (1,), np.int64)))


def test_invalid_values_are_rejected():
    check_rejected("hindsight: expected 0 to 1, got 2", hindsight=2)
    check_rejected("updates_per_step: expected more than 0, got 0", updates_per_step=0)
    check_rejected("expected a device, got 'warp'", device="warp")


def test_settings_are_arguments_of_the_algorithm_with_json_values():
    check_rejected("no 'gama' among the sac settings; did you mean 'gamma'", gama=0.9)
    check_rejected("no 'gradient_steps' among the sac settings.*updates_per_step", gradient_steps=3)
    check_rejected("no 'buffer_size' among the sac settings", buffer_size=3)
    check_rejected(
        "expected numbers, strings, lists and dicts", policy_kwargs={"activation_fn": torch.nn.ReLU}
    )
    check_rejected("expected numbers", gamma=float("nan"))
    agent = make_agent(
        "sac", make_line("sac"), gamma=0.9, action_noise=0.3, learning_rate=2e-3, tau=0.01, ent_coef=0.1
    )
    algorithm = agent.algorithm
    assert (algorithm.learning_rate, algorithm.tau, algorithm.ent_coef) == (2e-3, 0.01, 0.1)
    assert agent.algorithm.gamma == 0.9
    assert agent.algorithm.action_noise._sigma.tolist() == [0.3]


def test_off_policy_agent_needs_a_recorder_to_learn():
    envs = make_line("sac")
    agent = make_agent("sac", envs)
    assert agent.act(np.zeros((2, 2), np.float32)).shape == (2, 1)
    with pytest.raises(UsageError, match="sac replays a stream and needs a Recorder as envs, got Line"):
        agent.learn(envs, 10)
    with pytest.raises(UsageError, match="learns in the envs it was created with"):
        agent.learn(make_line("sac"), 10)


def test_checkpoint_of_another_agent_is_rejected(tmp_path):
    tree = AgentRun(tmp_path / "a", "sac", make_line("sac")).agent.get_checkpoint()
    small = {"policy_kwargs": {"net_arch": [8]}}
    for n, (name, settings) in enumerate([("td3", {}), ("sac", small), ("sac", {"ent_coef": 0.1})]):
        other = AgentRun(tmp_path / str(n), name, make_line(name), **settings).agent
        with pytest.raises(UsageError, match="another kind or size"):
            other.set_checkpoint(tree)


def saved_agent(tmp_path: Path, **settings: Any) -> Path:
    """Return the folder of a saved SAC agent."""
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"), **settings)
    run.agent.save(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 99}, UsageError, "of format 1"),
        ({"settings": None}, CorruptedFileError, "settings: expected dict, got None"),
        ({"settings": {"seed": 3}}, CorruptedFileError, "settings: unexpected seed"),
        ({"settings": {"gama": 3}}, UsageError, "no 'gama' among the sac settings"),
        ({"algorithm": "td3"}, UsageError, "expected an agent sac, got td3"),
        ({"representation": {"type": "world_model"}}, UsageError, "no file"),
        ({"representation": {"type": "code"}}, CorruptedFileError, "unexpected representation 'code'"),
    ],
)
def test_damaged_description_is_rejected(tmp_path, change, error, message):
    folder = saved_agent(tmp_path)
    write_json(folder / "sb3.json", {**read_json(folder / "sb3.json"), **change})
    with pytest.raises(error, match=message):
        registry.agent("sac").load(folder, make_line("sac"), "cpu")


def test_damaged_weights_are_rejected(tmp_path):
    folder = saved_agent(tmp_path)
    data = bytearray((folder / "sb3.safetensors").read_bytes())
    save_tree(folder / "sb3.safetensors", {"policy": {}})
    with pytest.raises(CorruptedFileError, match="expected the training state of an agent"):
        registry.agent("sac").load(folder, make_line("sac"), "cpu")
    data[-1] ^= 1
    (folder / "sb3.safetensors").write_bytes(data)
    with pytest.raises(CorruptedFileError):
        registry.agent("sac").load(folder, make_line("sac"), "cpu")


def test_saved_agent_is_json_and_safetensors(tmp_path):
    folder = saved_agent(tmp_path, representation=model_of(make_line("sac")))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}


def test_no_file_sets_where_to_write(tmp_path):
    folder = saved_agent(tmp_path)
    content = read_json(folder / "sb3.json")
    content["settings"]["tensorboard_log"] = str(tmp_path / "elsewhere")
    write_json(folder / "sb3.json", content)
    with pytest.raises(UsageError, match="no 'tensorboard_log' among the sac settings"):
        registry.agent("sac").load(folder, make_line("sac"), "cpu")


def test_agent_on_a_custom_representation_is_loaded_with_it(tmp_path):
    custom = SimpleNamespace(
        latent_dim=1, version=0, encode=lambda observation: np.asarray(observation)[:, :1]
    )
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"), representation=custom)
    run.learn(40)
    run.agent.save(tmp_path / "agent")
    factory, envs = registry.agent("sac"), make_line("sac")
    with pytest.raises(UsageError, match="SimpleNamespace, which is not saved"):
        factory.load(tmp_path / "agent", envs, "cpu")
    with pytest.raises(UsageError, match="latent_dim 1, got 8"):
        factory.load(tmp_path / "agent", envs, "cpu", representation=model_of(envs))
    loaded = factory.load(tmp_path / "agent", envs, "cpu", representation=custom)
    observation, _ = envs.reset(seed=1)
    np.testing.assert_array_equal(
        loaded.act(observation, explore=False), run.agent.act(observation, explore=False)
    )
