"""Configuration of `robossl learn`: frozen dataclasses with their defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robossl.core.agent_observation import ENCODERS
from robossl.core.errors import UsageError
from robossl.world_model.config import WorldModelConfig

_MAX_DEFAULT_THREADS = 8


@dataclass(frozen=True)
class ExploreConfig:
    """Exploration before the agent acts."""

    policy: str = "colored_noise"  # exploration policy, see `registry.names("policies")`
    num_envs: int = 64  # sub-environments
    fraction: float = 0.75  # of all environment steps; the rest is for the agent


@dataclass(frozen=True)
class PretrainConfig:
    """Training time of the world model."""

    updates: int = 1200  # gradient steps after exploration
    updates_per_iteration: int = 100  # gradient steps after each iteration of the agent


@dataclass(frozen=True)
class AgentConfig:
    """The agent and its encoder."""

    name: str = "auto"  # auto: sac for continuous actions, dqn for discrete actions
    num_envs: int = 8  # sub-environments
    num_iterations: int = 4  # of: act and learn, train the world model, publish its encoder
    updates_per_step: float = 0.25  # gradient steps for each environment step, independent of num_envs
    learning_starts: int = 500  # environment steps before the first gradient step
    encoder: str = "frozen"  # what the agent observes: see docs/agents.md; one of ENCODERS
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the agent, e.g. hyper-parameters of SB3


@dataclass(frozen=True)
class GoalsConfig:
    """Goal reaching by planning in the world model."""

    horizon: int = 25  # [steps] between start and goal in the held-out episode
    trials: int = 100  # pairs of start and goal


@dataclass(frozen=True)
class EvaluateConfig:
    """Size of the evaluation."""

    episodes: int = 20  # held-out episodes for each row of the control table
    curve_episodes: int = 8  # held-out episodes for each point of the learning curve
    videos: bool = True


@dataclass(frozen=True)
class LearnConfig:
    """Configuration of a run.

    Raises:
        UsageError: A value is outside its valid range.
    """

    env: str = "robossl/Reacher-v0"
    seed: int = 0
    steps: int = 64_000  # environment steps of all sub-environments: exploration and agent
    threads: int = 0  # CPU threads for physics and networks; 0: all cores, at most 8
    device: str = "auto"  # of the networks: auto, cpu, cuda, mps
    log: tuple[str, ...] = ()  # metric sinks beside metrics.jsonl: tensorboard, wandb, console
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    goals: GoalsConfig = field(default_factory=GoalsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("steps", self.steps, 1),
            ("threads", self.threads, 0),
            ("explore.num_envs", self.explore.num_envs, 1),
            ("pretrain.updates", self.pretrain.updates, 1),
            ("pretrain.updates_per_iteration", self.pretrain.updates_per_iteration, 0),
            ("agent.num_envs", self.agent.num_envs, 1),
            ("agent.num_iterations", self.agent.num_iterations, 0),
            ("agent.learning_starts", self.agent.learning_starts, 0),
            ("goals.horizon", self.goals.horizon, 1),
            ("goals.trials", self.goals.trials, 0),
            ("evaluate.episodes", self.evaluate.episodes, 1),
            ("evaluate.curve_episodes", self.evaluate.curve_episodes, 1),
            ("seed", self.seed, 0),
        ):
            check_count(name, value, minimum)
        if not 0 < self.explore.fraction <= 1:
            raise UsageError(
                f"explore.fraction: expected more than 0 and at most 1, got {self.explore.fraction}"
            )
        if self.agent.updates_per_step <= 0:
            raise UsageError(
                f"agent.updates_per_step: expected more than 0, got {self.agent.updates_per_step}"
            )
        if self.agent.encoder not in ENCODERS:
            raise UsageError(
                f"agent.encoder: expected one of {', '.join(ENCODERS)}, got {self.agent.encoder!r}"
            )

    @property
    def explore_steps(self) -> int:
        """Environment steps of exploration; a multiple of the number of sub-environments."""
        num_envs = self.explore.num_envs
        return max(int(self.steps * self.explore.fraction) // num_envs, 1) * num_envs

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration of the agent; a multiple of the number of sub-environments."""
        if self.agent.num_iterations == 0:
            return 0
        num_envs = self.agent.num_envs
        return max(self.steps - self.explore_steps, 0) // self.agent.num_iterations // num_envs * num_envs


def thread_count(threads: int) -> int:
    """Return the number of CPU threads to use: `threads`, or for 0 all cores, at most 8."""
    if threads:
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_DEFAULT_THREADS)


def check_count(name: str, value: float, minimum: int = 1) -> None:
    """Raise UsageError if a count is less than `minimum` or not finite."""
    if not minimum <= value < float("inf"):
        raise UsageError(f"{name}: expected {minimum} or more, got {value}")
