"""The agent of a run whose config names none: the one with the strongest measured start, wherever it can act."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from resume_helpers import TINY, tiny

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.sweeps.cell_commands import _learn_config
from robossl.training.config_validation import validate_config
from robossl.training.output_dirs import write_manifest
from robossl.training.report_pages import SEEDS
from robossl.training.seed_runs import resume_seeds


def chosen(env: str, **settings: Any) -> str:
    """Return the agent's name in the config of a run whose config leaves it to `auto`."""
    return validate_config(tiny(env, agent__name="auto", **settings)).agent.name


def test_agent_that_imagines_is_the_default():
    assert chosen("robossl/Reacher-v0") == "imagination-sac"
    assert chosen("Pendulum-v1") == "imagination-sac"
    assert chosen("Pendulum-v1", agent__settings__imagined_horizon=5) == "imagination-sac"


@pytest.mark.parametrize(
    ("env", "settings", "agent"),
    [
        ("CartPole-v1", {}, "dqn"),
        ("robossl/Reacher-v0", {"pixels": 32}, "sac"),
        ("robossl/Reacher-v0", {"agent__encoder": "none"}, "sac"),
        ("robossl/Reacher-v0", {"agent__encoder": "random"}, "sac"),
        ("robossl/Reacher-v0", {"agent__encoder": "finetune"}, "sac"),
        ("robossl/Reacher-v0", {"world_model__objectives": ("inverse", "reconstruction")}, "sac"),
        ("robossl/Reacher-v0", {"world_model__objectives": ("forward:0", "inverse")}, "sac"),
        ("robossl/Reacher-v0", {"world_model__ensemble_size": 1}, "sac"),
    ],
)
def test_where_the_world_model_cannot_imagine_the_default_agent_is_that_of_sb3(env, settings, agent):
    assert chosen(env, **settings) == agent


class Switches(gym.Env):
    """An env with two switches."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.MultiDiscrete([2, 2])


class Unbounded(gym.Env):
    """An env whose actions have no bounds."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Box(-float("inf"), float("inf"), (1,))


def test_auto_stays_where_no_agent_can_act(monkeypatch):
    monkeypatch.setitem(gym.registry, "toy/Unbounded-v0", EnvSpec("toy/Unbounded-v0", Unbounded))
    assert chosen("toy/Unbounded-v0") == "auto"  # the rows without reward are there all the same


def test_several_discrete_actions_have_an_agent(monkeypatch):
    monkeypatch.setitem(gym.registry, "toy/Switches-v0", EnvSpec("toy/Switches-v0", Switches))
    assert chosen("toy/Switches-v0") == "dqn"


def test_cells_of_a_sweep_have_one_agent():
    for encoder in ("none", "frozen"):
        settings = {**TINY, "env": "robossl/Reacher-v0", "agent.encoder": encoder, "agent.name": "auto"}
        assert _learn_config(settings, 1).agent.name == "sac"


def test_folder_of_seeds_of_an_older_version_goes_on_with_its_agent(tmp_path):
    config = tiny(agent__name="auto")
    write_manifest(tmp_path, SEEDS, config, env=config.env, seeds=[0, 1])
    agents = []

    def learn(config, folder, progress):
        agents.append(config.agent.name)
        raise OperationError("stop here")

    with pytest.raises(OperationError):
        resume_seeds(learn, tmp_path, NullProgress())
    assert agents == ["sac", "sac"]


def test_agent_that_is_named_stays():
    assert validate_config(tiny(agent__name="td3")).agent.name == "td3"


def test_settings_are_those_of_the_default_agent():
    with pytest.raises(UsageError, match=r"no .observe. among the imagination-sac settings.*name that one$"):
        chosen("robossl/Reacher-v0", agent__settings__observe="latent")
