"""The agents of a run: one for each row of the control table, named by what it observes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.agent_observation import row_encoder, row_name
from robossl.core.errors import UsageError
from robossl.training.agent_settings import check_settings
from robossl.training.config import AgentConfig

AGENT = "agent"  # folder of the agent of the run; those of the other rows are named by the row
STREAM = "stream"  # folder of the stream that the world model is trained on


@dataclass(frozen=True)
class AgentRow:
    """One agent of a run.

    Attributes:
        row: Its row in the control table: what it observes.
        folder: Its folder in the run.
        stream: Folder of the stream with its steps.
        encoder: One of ENCODERS.
        settings: Settings of the agent.
    """

    row: str
    folder: str
    stream: str
    encoder: str
    settings: dict[str, Any]

    @property
    def metric_prefix(self) -> str:
        """Prefix of its metrics."""
        return self.folder.replace("-", "_")


def main_row(config: AgentConfig, observation_space: gym.Space) -> AgentRow:
    """Return the agent that uses the world model of the run, as configured."""
    settings = dict(config.settings)
    row = row_name(config.encoder, observation_space, settings.get("observe"))
    return AgentRow(row, AGENT, STREAM, config.encoder, settings)


def agent_rows(
    config: AgentConfig, agent: str, observation_space: gym.Space
) -> tuple[list[AgentRow], dict[str, str]]:
    """Return the agents of a run, the main one first, and the rows of `agent.rows` that do not apply, with the reason.

    Args:
        config: Configuration of the agents.
        agent: Name of the agent in the registry.
        observation_space: Observation space of one sub-environment.
    """
    main = main_row(config, observation_space)
    rows, reasons = [main], {}
    factory = registry.agent(agent)
    if getattr(factory, "needs_representation", False):
        return rows, {}
    for row in config.rows:
        if row == main.row:
            continue
        settings = {key: value for key, value in config.settings.items() if key != "observe"}
        try:
            encoder, observed = row_encoder(row, observation_space)
            if observed is not None:
                settings["observe"] = observed
            check_settings(agent, settings, encoder)
        except UsageError as error:
            reasons[row] = str(error)
            continue
        folder = row.replace("_", "-")
        rows.append(AgentRow(row, f"{folder}-agent", f"{folder}-stream", encoder, settings))
    return rows, reasons
