"""Pretrained models: those that are installed, folders, and the Hub; their cards; the commands that take them."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli_runner import fail, succeed

import robossl
from benchmarks.pretrained import table_row
from robossl.core.errors import OperationError, UsageError
from robossl.training import hub, pretrained
from robossl.training.pretrained import pretrained_folder

NAMES = robossl.pretrained_names()
DOCS = Path(__file__).parents[2] / "docs"
LIMIT = 30e6  # [bytes] of all installed models


def test_every_installed_model_is_complete_small_and_from_nowhere_else():
    assert "reacher" in NAMES
    total = 0
    for name in NAMES:
        folder = pretrained_folder(name)
        files = [path for path in folder.rglob("*") if path.is_file()]
        total += sum(path.stat().st_size for path in files)
        assert "/tmp" not in "".join(path.read_text() for path in files if path.suffix in (".json", ".md"))
        results = json.loads((folder / "results.json").read_text())
        assert results["prediction_skill_10"] > results["linear_skill_10"]
        assert table_row(folder) in (DOCS / "pretrained.md").read_text()
        assert results["env"] in robossl.model_card(name)
    assert total < LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_installed_model_predicts_and_its_agent_acts(name):
    model = robossl.from_pretrained(name)
    env = json.loads((pretrained_folder(name) / "results.json").read_text())["env"]
    envs = robossl.make(env, num_envs=2)
    observation, _ = envs.reset(seed=0)
    z = model.encode(observation)
    assert model.predict(z, envs.action_space.sample()).shape == z.shape
    agent = robossl.load(pretrained_folder(name), num_envs=2)
    assert envs.action_space.contains(agent.act(observation, explore=False))
    envs.close()


def test_planner_of_the_arm_reaches_goals_without_training():
    """Return of one episode in 100 steps; random actions have 22 in 200 (docs/environments.md)."""
    envs = robossl.make("robossl/Reacher-v0", num_envs=4)
    agent = robossl.load(pretrained_folder("reacher"), num_envs=4)
    observation, _ = envs.reset(seed=5)
    total = np.zeros(4)
    for _ in range(100):
        observation, reward, *_ = envs.step(agent.act(observation, explore=False))
        total += reward
    envs.close()
    assert np.median(total) > 50


def test_folder_of_a_model_is_loaded_from_where_it_is(tmp_path):
    env = gym.make("robossl/CartPoleSwingUp-v0")
    config = robossl.WorldModelConfig(
        latent_dim=4, encoder_hidden=(8,), dynamics_hidden=(8,), inverse_hidden=(8,)
    )
    robossl.WorldModel(config, env.observation_space, env.action_space).save(tmp_path)
    assert robossl.from_pretrained(tmp_path).latent_dim == 4
    assert "Latent dimension 4" in robossl.model_card(tmp_path)
    env.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("reachr", "did you mean 'reacher'"),
        ("a/b/c", "USER/NAME on the Hugging Face Hub"),
        ("../reacher", "USER/NAME on the Hugging Face Hub"),
        ("robossl/Reacher-v0", "got the env robossl/Reacher-v0; .*; reacher is of this env"),
        (None, "got None"),
    ],
)
def test_unknown_source_is_one_line_with_what_is_installed(source, message):
    with pytest.raises(UsageError, match=message) as caught:
        robossl.from_pretrained(source)
    assert "reacher" in str(caught.value)
    assert "\n" not in str(caught.value)


class FakeHubModule(types.ModuleType):
    """huggingface_hub with one repository, in a folder."""

    def __init__(self, folder, error=None):
        super().__init__("huggingface_hub")
        self.folder, self.error, self.requested = folder, error, []
        self.errors = types.SimpleNamespace(HfHubHTTPError=type("HfHubHTTPError", (OSError,), {}))

    def snapshot_download(self, name, allow_patterns):
        self.requested.append((name, allow_patterns))
        if self.error:
            raise self.error
        return str(self.folder)


def use(monkeypatch, module):
    monkeypatch.setattr(hub, "_import_hub", lambda user="": module)
    return module


def test_hub_repository_is_downloaded_without_any_other_file(tmp_path, monkeypatch):
    shutil.copytree(pretrained_folder("reacher") / "agent" / "representation", tmp_path / "m")
    module = use(monkeypatch, FakeHubModule(tmp_path / "m"))
    assert robossl.from_pretrained("me/reacher").action_space.shape == (2,)
    (name, patterns) = module.requested[0]
    assert name == "me/reacher"
    assert all(pattern.endswith((".json", ".safetensors", ".md")) for pattern in patterns)


def test_hub_failures_are_one_line(tmp_path, monkeypatch):
    use(monkeypatch, FakeHubModule(tmp_path))
    with pytest.raises(UsageError, match=r"no config\.json"):
        robossl.from_pretrained("me/other")
    use(monkeypatch, FakeHubModule(tmp_path, OSError("no\nnetwork")))
    with pytest.raises(OperationError, match="no network"):
        robossl.from_pretrained("me/other")


def test_hub_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"robossl\[hub\]"):
        robossl.from_pretrained("me/other")


@pytest.mark.slow
def test_evaluate_records_new_steps_for_a_pretrained_model(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_EVALUATION_STEPS", 32 * 101)
    arguments = ("--episodes", 1, "--goal-trials", 1, "--no-videos", "--threads", 1, "--json")
    report = succeed(tmp_path, "evaluate", "--pretrained", "reacher", *arguments).document
    assert (
        report["world_model"]["prediction_skill"]["1"]["mean"] > report["world_model"]["forward_linear"]["1"]
    )
    assert len(report["control"]["rows"]) > 2
    assert (tmp_path / "streams").is_dir()


@pytest.mark.parametrize("command", ["play", "evaluate"])
def test_folder_and_pretrained_exclude_each_other(command, tmp_path):
    assert "got both" in fail(tmp_path, command, "folder", "--pretrained", "reacher")
    assert "got neither" in fail(tmp_path, command)
