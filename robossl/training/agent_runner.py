"""AgentRunner: an agent and its recorded environments, which can be saved and resumed together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, MetricLogger, NullProgress, ProgressReporter, Representation, Tree
from robossl.core.io import write_json
from robossl.streams import Recorder, Stream
from robossl.training.env_resume import recorded_steps, restore_env_state, save_env_state

if TYPE_CHECKING:
    from stable_baselines3.common.callbacks import BaseCallback

AGENT_FORMAT = 2  # of agent.json


class AgentRunner:
    """An agent that acts and learns in recorded environments, and continues from a checkpoint to the same bits.

    The environments run with autoreset disabled: the agent resets them, which every vector env supports.
    """

    def __init__(
        self,
        name: str,
        recorder: Recorder,
        seed: int,
        representation: Representation | None = None,
        device: str = "auto",
        stream: Stream | None = None,
        **settings: Any,
    ) -> None:
        """Create an agent.

        Args:
            name: Its name in the registry.
            recorder: Its environments.
            seed: Seed of the agent, and of its environments when they are resumed.
            representation: What it acts on, or None.
            device: Device of its networks.
            stream: Recorded stream that it learns from, for agents that take one.
            settings: Settings of the agent.

        Raises:
            UsageError: If the name or a setting is unknown, or the agent does not fit the environments.
        """
        self.name, self.seed, self.recorder = name, seed, recorder
        factory = registry.agent(name)
        registry.check_settings(factory, settings, name)
        given = {"stream": stream} if stream is not None else {}
        self.agent: Agent = factory(
            recorder, representation=representation, seed=seed, device=device, **given, **settings
        )

    def learn(
        self,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
        callbacks: Sequence[BaseCallback] = (),
    ) -> None:
        """Act and learn for `steps` environment steps of all sub-environments.

        Args:
            steps: Environment steps.
            progress: Receives the steps.
            logger: Receives the metrics of the agent.
            callbacks: SB3 callbacks, for agents whose `learn` takes `callbacks`.
        """
        progress = progress or NullProgress()
        if not callbacks:
            self.agent.learn(self.recorder, steps, progress, logger)
            return
        if "callbacks" not in inspect.signature(self.agent.learn).parameters:
            raise UsageError(
                f"callbacks: expected an SB3 agent, got {self.name}, whose learn() has no callbacks"
            )
        self.agent.learn(self.recorder, steps, progress, logger, callbacks=callbacks)  # type: ignore[call-arg]

    def change_physics(self, randomization: Mapping[str, Any]) -> None:
        """Randomize the environments from now on, in new episodes; keys and values as in docs/environments.md."""
        self.recorder.reset(options={"randomization": dict(randomization)})
        self.agent.reset_envs(self.recorder)

    def save(self, folder: str | Path) -> None:
        """Write the agent into `folder`: its own files, and agent.json with its name and spaces."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.agent.save(folder)
        write_json(
            folder / "agent.json",
            {
                "format": AGENT_FORMAT,
                "agent": self.name,
                "observation_space": spaces.to_json(self.recorder.single_observation_space),
                "action_space": spaces.to_json(self.recorder.single_action_space),
            },
            checksum=True,
        )

    def get_checkpoint(self) -> Tree:
        """Return the state of the agent, the environments and the recorder."""
        return {
            "agent": self.agent.get_checkpoint(),
            "recorder": self.recorder.get_checkpoint(),
            "envs": save_env_state(self.recorder.env),
        }

    def set_checkpoint(self, tree: Mapping[str, Any], progress: ProgressReporter) -> None:
        """Continue from `get_checkpoint`; if the environments cannot be restored, report it and start new episodes."""
        reason = restore_env_state(
            self.recorder.env, tree["envs"], self.seed, lambda: recorded_steps(self.recorder)
        )
        self.agent.set_checkpoint(tree["agent"])
        if reason is None:
            self.recorder.set_checkpoint(tree["recorder"])
        else:
            progress.message(f"the environments cannot be restored ({reason}); new episodes begin")
            self.agent.reset_envs(self.recorder)

    def close(self) -> None:
        """Close the environments and finish their recording."""
        self.recorder.close()
