"""An agent in its own environments, its steps in its own lanes of a stream."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, MetricLogger, ProgressReporter, Representation
from robossl.streams import Recorder
from robossl.training.env_resume import recorded_steps, restore_env_state, save_env_state


class AgentRunner:
    """An agent that acts and learns for a while, is set aside, and goes on to the same bits.

    Its environments run with autoreset disabled: whoever steps them resets them, which every vector env can
    do and no dummy step disturbs.
    """

    def __init__(
        self,
        name: str,
        recorder: Recorder,
        seed: int,
        representation: Representation | None = None,
        **settings: Any,
    ) -> None:
        """An agent called `name` in the environments of `recorder`; `settings` go to the agent."""
        self.seed, self.recorder = seed, recorder
        make = registry.agent(name)
        self.agent: Agent = make(name, recorder, representation=representation, seed=seed, **settings)

    def learn(
        self,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Act and learn for `steps` environment steps of all sub-environments.

        Args:
            steps: Environment steps.
            progress: Receives the steps.
            logger: Receives the metrics of the agent.
            callbacks: SB3 callbacks, for agents whose `learn` takes `callbacks`.
        """
        if not callbacks:
            self.agent.learn(self.recorder, steps, progress, logger)
            return
        if "callbacks" not in inspect.signature(self.agent.learn).parameters:
            raise UsageError(f"{type(self.agent).__name__} takes no callbacks; expected an SB3 agent")
        self.agent.learn(self.recorder, steps, progress, logger, callbacks=callbacks)  # type: ignore[call-arg]

    def get_checkpoint(self) -> Any:
        """Agent, environments and what the recorder holds back."""
        return {
            "agent": self.agent.get_checkpoint(),
            "recorder": self.recorder.get_checkpoint(),
            "life": save_env_state(self.recorder.env),
        }

    def set_checkpoint(self, tree: Any, progress: ProgressReporter) -> None:
        """Go on where `get_checkpoint` was; an env that cannot be taken up begins new episodes, and that is said."""
        reason = restore_env_state(self.recorder.env, tree["life"], self.seed, recorded_steps(self.recorder))
        self.agent.set_checkpoint(tree["agent"])
        if reason is None:
            self.recorder.set_checkpoint(tree["recorder"])
        else:
            progress.message(
                f"the environment could not be taken up where it was ({reason}); new episodes begin"
            )
            self.agent.reset_envs(self.recorder)

    def close(self) -> None:
        """Close the environments; what was recorded stays."""
        self.recorder.close()
