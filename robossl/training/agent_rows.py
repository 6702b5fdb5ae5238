"""The agents of a run: one for each row of the control table, named by what it observes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.agent_observation import row_encoder, row_name
from robossl.core.errors import UsageError
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_settings import check_settings
from robossl.training.config import AUTO, AgentConfig

AGENT = "agent"  # folder of the agent of the run; those of the other rows are named by the row
STREAM = "stream"  # folder of the stream that the world model is trained on


@dataclass(frozen=True)
class AgentRow:
    """One agent of a run.

    Attributes:
        row: Its row in the control table: what it observes.
        agent: Its name in the registry.
        folder: Its folder in the run.
        stream: Folder of the stream with its steps.
        encoder: One of ENCODERS.
        settings: Settings of the agent.
    """

    row: str
    agent: str
    folder: str
    stream: str
    encoder: str
    settings: dict[str, Any]

    @property
    def metric_prefix(self) -> str:
        """Prefix of its metrics."""
        return self.folder.replace("-", "_")


def row_of_agent(agent: str, encoder: str, space: gym.Space, settings: Mapping[str, Any]) -> str:
    """Return the name of an agent's row in the report: what the agent observes.

    Args:
        agent: Name of the agent in the registry.
        encoder: One of ENCODERS.
        space: Observation space of one sub-environment.
        settings: Settings of the agent.
    """
    if _acts_on_latents(agent):
        return "random_latent" if encoder == "random" else "latent"
    return row_name(encoder, space, settings.get("observe"))


def _acts_on_latents(agent: str) -> bool:
    """Return whether an agent has no other input than the latents of a world model, and goals."""
    factory = registry.agent(agent)
    has_modes = "encoder" in inspect.signature(factory).parameters
    return getattr(factory, "needs_representation", False) and not has_modes


def agent_rows(
    config: AgentConfig, observation_space: gym.Space, action_space: gym.Space
) -> tuple[list[AgentRow], dict[str, str]]:
    """Return the agents of a run, the main one first, and the rows of `agent.rows` that do not apply, with the reason.

    The other rows are the same agent with another input. Of an agent that acts on latents only, they are the default
    agent for these actions, with its default settings.

    Args:
        config: Configuration of the agents.
        observation_space: Observation space of one sub-environment.
        action_space: Action space of one sub-environment.
    """
    agent = resolve_agent(config.name, action_space)
    own = dict(config.settings)
    main = row_of_agent(agent, config.encoder, observation_space, own)
    rows = [AgentRow(main, agent, AGENT, STREAM, config.encoder, own)]
    reasons = {}
    other, others = agent, {key: value for key, value in own.items() if key != "observe"}
    if _acts_on_latents(agent):
        other, others = resolve_agent(AUTO, action_space), {}
    for row in config.rows:
        if row == main:
            continue
        settings = dict(others)
        try:
            encoder, observed = row_encoder(row, observation_space)
            if observed is not None:
                settings["observe"] = observed
            check_settings(other, settings, encoder)
        except UsageError as error:
            reasons[row] = str(error)
            continue
        folder = row.replace("_", "-")
        rows.append(AgentRow(row, other, f"{folder}-agent", f"{folder}-stream", encoder, settings))
    return rows, reasons
