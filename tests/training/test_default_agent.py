"""The agent of a run whose config names none: the one with the strongest measured start, wherever it can act."""

from __future__ import annotations

from typing import Any

import pytest
from resume_helpers import tiny

from robossl.core.errors import UsageError
from robossl.training.config_validation import validate_config


def chosen(env: str, **settings: Any) -> str:
    """Return the agent's name in the config of a run whose config leaves it to `auto`."""
    return validate_config(tiny(env, agent__name="auto", **settings)).agent.name


def test_agent_that_imagines_is_the_default():
    assert chosen("robossl/Reacher-v0") == "imagination-sac"
    assert chosen("Pendulum-v1") == "imagination-sac"
    assert chosen("Pendulum-v1", agent__settings__imagined_horizon=5) == "imagination-sac"


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("CartPole-v1", {}),  # discrete actions
        ("robossl/Reacher-v0", {"pixels": 32}),
        ("robossl/Reacher-v0", {"agent__encoder": "none"}),
        ("robossl/Reacher-v0", {"agent__encoder": "random"}),
        ("robossl/Reacher-v0", {"agent__encoder": "finetune"}),
        ("robossl/Reacher-v0", {"world_model__objectives": ("inverse", "reconstruction")}),
    ],
)
def test_where_the_world_model_cannot_imagine_the_default_agent_is_that_of_sb3(env, settings):
    assert chosen(env, **settings) == "auto"


def test_agent_that_is_named_stays():
    assert validate_config(tiny(agent__name="td3")).agent.name == "td3"


def test_settings_are_those_of_the_default_agent():
    with pytest.raises(
        UsageError, match=r"no .observe. among the imagination-sac settings.*name one, as sac$"
    ):
        chosen("robossl/Reacher-v0", agent__settings__observe="latent")
