"""Base of the agents that act and learn step by step in the envs they were created with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, Observation, ProgressReporter
from robossl.rollout import StepLoop, StepResult
from robossl.streams import Recorder

from .agent_display import DisplayedAgent


class LoopAgent(DisplayedAgent, ABC):
    """Agent whose `learn` is a `StepLoop`; a subclass acts, and may learn after each step.

    Attributes:
        name: Name of the agent in errors.
        replays_own_steps: Whether `learn` needs a `Recorder` as envs, because the agent replays its stream.
        envs: The envs to act and learn in.
        seed: Seed of the first reset in `learn`, and of the subclass.
    """

    name: ClassVar[str]
    replays_own_steps: ClassVar[bool] = False

    def __init__(self, envs: VectorEnv, seed: int) -> None:
        """Create the loop over `envs`."""
        self.envs, self.seed = envs, int(seed)
        self._loop = StepLoop(envs, self.seed)

    @abstractmethod
    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A)."""

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes; the agent has no episode state."""

    def learn(
        self,
        envs: VectorEnv,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
    ) -> None:
        """Act in `envs` for `steps` environment steps, summed over the sub-environments, and learn after each.

        Raises:
            UsageError: `envs` are not those of the agent, or must record a stream and do not.
        """
        if envs is not self.envs:
            raise UsageError(f"{self.name} acts in the envs it was created with, got others")
        if self.replays_own_steps and (not isinstance(envs, Recorder) or envs.stream is None):
            raise UsageError(
                f"{self.name} replays a stream and needs a Recorder as envs, got {type(envs).__name__}; "
                "use Recorder.create(envs, path)"
            )
        for step in self._loop.steps(self, steps, progress):
            self._learn_from_step(step, logger)
        self._finish_learning(logger)

    def _learn_from_step(self, step: StepResult, logger: MetricLogger | None) -> None:
        """Learn after a vector step; by default nothing is trained."""

    def _finish_learning(self, logger: MetricLogger | None) -> None:
        """Do what is left at the end of `learn`; by default nothing."""

    def reset_envs(self, envs: VectorEnv) -> None:
        """Reset `envs` before the next step of `learn`."""
        self._loop.reset_envs()
