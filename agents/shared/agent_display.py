"""Text and HTML of agents for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from robossl.core.display import html_table, one_line, plural
from robossl.core.spaces import format_space


class DisplayedAgent:
    """Mixin that prints an agent in one line, and as a table in a notebook.

    What is shown are the attributes that an agent has: `envs`, `model` or `representation`, `config` or `settings`.
    """

    name: ClassVar[str]

    def __repr__(self) -> str:
        envs, model = _envs(self), _representation(self)
        return one_line(
            type(self).__name__, self.name, _env_name(envs), "" if model is None else _model_text(model)
        )

    def _repr_html_(self) -> str:
        """Return env, representation and settings as HTML."""
        envs, model = _envs(self), _representation(self)
        rows = [
            ("env", _env_name(envs)),
            ("observations", format_space(envs.single_observation_space)),
            ("actions", format_space(envs.single_action_space)),
            ("representation", "none" if model is None else _model_text(model)),
            *((key.replace("_", " "), value) for key, value in _settings(self).items()),
        ]
        return html_table(f"Agent {self.name}", rows)


def _envs(agent: Any) -> VectorEnv:
    return agent.envs if hasattr(agent, "envs") else agent._envs.envs


def _representation(agent: Any) -> Any:
    """Return the world model or other encoder that an agent acts on; None if there is none."""
    model = getattr(agent, "model", None)
    return model if model is not None else getattr(getattr(agent, "encoder", None), "frozen", None)


def _settings(agent: Any) -> Mapping[str, Any]:
    config = getattr(agent, "config", None)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return getattr(agent, "settings", {})


def _model_text(model: Any) -> str:
    return f"{plural(model.latent_dim, 'latent')} of version {model.version}"


def _env_name(envs: VectorEnv) -> str:
    return envs.spec.id if envs.spec is not None else type(envs.unwrapped).__name__
