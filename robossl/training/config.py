"""Configuration of `robossl learn`: frozen dataclasses with their defaults."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from robossl.core.agent_observation import ENCODERS, ROWS
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.limits import LARGEST_EPISODES, LARGEST_THREADS, check_count
from robossl.core.simulation_backends import DEFAULT, WARP, check_backend_name
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.goal_heads import DEFAULT_UPDATES

_MAX_DEFAULT_THREADS = 8
_DEFAULT_STEPS = 64_000
UNLIMITED: Literal["unlimited"] = "unlimited"  # value of `steps`
AUTO: Literal["auto"] = "auto"
_VARIATION_EXPLORE_FRACTION = 0.25  # explore.iteration_fraction of a run whose physics change


@dataclass(frozen=True)
class ExploreConfig:
    """Exploration before the agent acts."""

    policy: str = "colored_noise"  # exploration policy: colored_noise, random, curious, zero
    num_envs: int = 64  # sub-environments that explore
    fraction: float = 0.75  # exploration's share of all environment steps; the rest is for the agent
    steps: int = 0  # environment steps of exploration; 0: `fraction` of all
    backend: str = DEFAULT  # that simulates an env of robossl: mujoco (CPU), warp (GPU; extra warp)
    record_envs: int = 0  # sub-environments that are recorded; 0: all
    # newest steps of each sub-environment that is not recorded, which the world model is trained on, on its device; 0:
    # it is trained on recorded steps
    ring_steps: int = 0
    workers: int = 0  # processes that explore, each in its share of the sub-environments; 0: this one
    engine: str = "local"  # of the workers: local, processes of this machine; or ray
    # share of the steps of an iteration that the exploration policy takes, in the physics that the agent's envs have
    # then; auto: 0.25 in a run whose physics change (variation), else 0
    iteration_fraction: float | Literal["auto"] = "auto"

    @property
    def lanes(self) -> int:
        """Sub-environments that are recorded."""
        return self.record_envs or self.num_envs


@dataclass(frozen=True)
class PretrainConfig:
    """Training time of the world model."""

    updates: int = 1200  # gradient steps after exploration
    updates_per_iteration: int = 100  # gradient steps after each iteration of the agent
    # fraction of the windows of an iteration that begin in recent steps: those since the physics changed, else those of
    # the iteration; the others begin anywhere; auto: 0.9 since the physics changed, else 0
    recent_fraction: float | Literal["auto"] = "auto"


@dataclass(frozen=True)
class AgentConfig:
    """The agent and its encoder."""

    # auto: imagination-sac where it can act; else, as from images, sac, or dqn for discrete actions
    name: str = "auto"
    num_envs: int = 8  # sub-environments in which the agent acts
    num_iterations: int = (
        4  # times to act and learn, train the world model and publish its encoder; 0: no agent
    )
    iteration_steps: int = 0  # environment steps of an iteration; 0: those after exploration / num_iterations
    updates_per_step: float = 0.25  # gradient steps for each environment step, independent of num_envs
    learning_starts: int = 500  # environment steps before the first gradient step
    encoder: str = "frozen"  # encoder of the agent: none, random, frozen, finetune, cotrain, scratch
    # further agents with the same budget: observation, latent, latent_observation, random_latent
    rows: tuple[str, ...] = ("observation",)
    # settings of this agent: of imagination-sac, or of sac those of SB3; another agent of a row has its defaults
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def budget(self) -> dict[str, Any]:
        """The settings that every agent of a run gets if it takes them."""
        return {"updates_per_step": self.updates_per_step, "learning_starts": self.learning_starts}


@dataclass(frozen=True)
class GoalsConfig:
    """Goal reaching with the world model, without reward."""

    horizons: tuple[int, ...] = (10, 25, 50, 100)  # [steps] between start and goal in the held-out episode
    trials: int = 16  # pairs of start and goal at each horizon; 0: none are measured
    control: bool = True  # whether planner and inverse policy also act in the env's own episodes
    # gradient steps of each goal head; auto: as many as the world model's, at most 1,500; 0: no heads
    head_updates: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check_horizons("goals.horizons", self.horizons)


@dataclass(frozen=True)
class EvaluateConfig:
    """Size of the evaluation."""

    episodes: int = 20  # held-out episodes for each row of the control table
    curve_episodes: int = 8  # held-out episodes for each point of the learning curve
    videos: bool = True  # whether the report has videos of an agent and of an imagined rollout
    every: int = 10  # iterations between two reports of an unlimited run; the first is after iteration 1


@dataclass(frozen=True)
class VariationConfig:
    """A change of the physics while the agent acts."""

    # environment step from which the agent's envs are randomized, rounded up to a whole iteration; 0: never
    at_step: int = 0
    # parameter -> value, a range, "train" or "test"; see docs/environments.md
    randomization: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearnConfig:
    """Configuration of a run.

    Example:
        config = robossl.LearnConfig(env="robossl/CartPoleSwingUp-v0", steps=20_000)
        report = robossl.learn(config, "runs/cartpole")

    Raises:
        UsageError: A value is outside its valid range.
    """

    env: str = "robossl/Reacher-v0"  # a Gymnasium id, or an MJCF file
    pixels: int = 0  # [pixels] edge of image observations; 0: the env's own observations
    seed: int = 0  # of everything random; the same seed gives the same bytes on a CPU
    # environment steps of all sub-environments: exploration and agent; unlimited: until the run is stopped
    steps: int | Literal["unlimited"] = _DEFAULT_STEPS
    threads: int = 0  # CPU threads for physics and networks; 0: all cores, at most 8
    device: str = "auto"  # device of the networks: auto, cpu, cuda, mps
    log: tuple[str, ...] = ()  # metric sinks beside metrics.jsonl: tensorboard, wandb, console
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    goals: GoalsConfig = field(default_factory=GoalsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    variation: VariationConfig = field(default_factory=VariationConfig)

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("steps", self.planned_steps, 1),
            ("threads", self.threads, 0),
            ("pixels", self.pixels, 0),
            ("explore.num_envs", self.explore.num_envs, 1),
            ("explore.steps", self.explore.steps, 0),
            ("explore.workers", self.explore.workers, 0),
            ("explore.record_envs", self.explore.record_envs, 0),
            ("explore.ring_steps", self.explore.ring_steps, 0),
            ("pretrain.updates", self.pretrain.updates, 1),
            ("pretrain.updates_per_iteration", self.pretrain.updates_per_iteration, 0),
            ("agent.num_envs", self.agent.num_envs, 1),
            ("agent.num_iterations", self.agent.num_iterations, 0),
            ("agent.iteration_steps", self.agent.iteration_steps, 0),
            ("agent.learning_starts", self.agent.learning_starts, 0),
            ("goals.trials", self.goals.trials, 0),
            ("goals.head_updates", head_update_count(self.goals.head_updates, 0), 0),
            ("evaluate.episodes", self.evaluate.episodes, 1),
            ("evaluate.curve_episodes", self.evaluate.curve_episodes, 1),
            ("evaluate.every", self.evaluate.every, 1),
            ("variation.at_step", self.variation.at_step, 0),
            ("seed", self.seed, 0),
        ):
            check_count(name, value, minimum)
        check_count("threads", self.threads, 0, LARGEST_THREADS)
        for name, value in (
            ("evaluate.episodes", self.evaluate.episodes),
            ("evaluate.curve_episodes", self.evaluate.curve_episodes),
            ("goals.trials", self.goals.trials),
        ):
            check_count(name, value, 0, LARGEST_EPISODES)
        if check_backend_name(self.explore.backend) == WARP and self.pixels:
            raise UsageError(
                "explore.backend: expected mujoco with pixels, got warp: a run has images of one renderer, and "
                "its agent acts with those of OpenGL; leave pixels out, or record images with collect --backend warp"
            )
        if self.explore.workers and (self.explore.backend != DEFAULT or self.explore.record_envs):
            raise UsageError(
                "explore.workers: expected backend mujoco and no record_envs beside them: each worker has its own envs"
            )
        if self.explore.engine != ExploreConfig.engine and not self.explore.workers:
            raise UsageError(
                f"explore.engine: expected explore.workers with {self.explore.engine!r}, got none"
            )
        if self.explore.lanes > self.explore.num_envs:
            raise UsageError(
                f"explore.record_envs: expected at most the {self.explore.num_envs} sub-environments that explore "
                f"(explore.num_envs), got {self.explore.record_envs}"
            )
        if self.explore.ring_steps and self.explore.lanes == self.explore.num_envs:
            raise UsageError(
                "explore.ring_steps: expected sub-environments that are not recorded, got none; give "
                "explore.record_envs, less than explore.num_envs"
            )
        if not 0 < self.explore.fraction <= 1:
            raise UsageError(
                f"explore.fraction: expected more than 0 and at most 1, got {self.explore.fraction}"
            )
        for name, fraction in (
            ("explore.iteration_fraction", self.explore.iteration_fraction),
            ("pretrain.recent_fraction", self.pretrain.recent_fraction),
        ):
            if fraction != AUTO and (isinstance(fraction, str) or not 0 <= fraction < 1):
                raise UsageError(f"{name}: expected 0 or more and less than 1, or auto, got {fraction}")
        if self.agent.updates_per_step <= 0:
            raise UsageError(
                f"agent.updates_per_step: expected more than 0, got {self.agent.updates_per_step}"
            )
        for row in self.agent.rows:
            if row not in ROWS:
                raise unknown_name_error("agent row", row, ROWS)
        if self.agent.encoder not in ENCODERS:
            raise UsageError(
                f"agent.encoder: expected one of {', '.join(ENCODERS)}, got {self.agent.encoder!r}"
            )

    @property
    def unlimited(self) -> bool:
        """Whether the run goes on until it is stopped."""
        return self.steps == UNLIMITED

    @property
    def planned_steps(self) -> int:
        """All environment steps; of an unlimited run those of the default, which exploration is a fraction of."""
        return _DEFAULT_STEPS if isinstance(self.steps, str) else self.steps

    @property
    def explore_steps(self) -> int:
        """Environment steps of exploration; a multiple of the number of sub-environments."""
        num_envs = self.explore.num_envs
        steps = self.explore.steps or int(self.planned_steps * self.explore.fraction)
        return max(steps // num_envs, 1) * num_envs

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration, of agent and exploration policy; a multiple of agent.num_envs."""
        if self.agent.num_iterations == 0:
            return 0
        num_envs = self.agent.num_envs
        remaining = max(self.planned_steps - self.explore_steps, 0)
        steps = self.agent.iteration_steps or remaining // self.agent.num_iterations
        return steps // num_envs * num_envs

    @property
    def iteration_explore_steps(self) -> int:
        """Environment steps of the exploration policy in one iteration; a multiple of agent.num_envs."""
        fraction = self.explore.iteration_fraction
        if fraction == AUTO:
            fraction = _VARIATION_EXPLORE_FRACTION if self.variation.at_step else 0.0
        return int(self.iteration_steps * float(fraction)) // self.agent.num_envs * self.agent.num_envs

    @property
    def iteration_agent_steps(self) -> int:
        """Environment steps of each agent in one iteration; a multiple of agent.num_envs."""
        return self.iteration_steps - self.iteration_explore_steps

    @property
    def lane_groups(self) -> list[int]:
        """Lanes of the stream: of exploration, of the agent and, if there is any, of exploration between its steps."""
        groups = [self.explore.lanes, self.agent.num_envs]
        return [*groups, self.agent.num_envs] if self.iteration_explore_steps else groups

    @property
    def num_iterations(self) -> float:
        """Iterations of the agent; infinity if the run is unlimited."""
        if self.iteration_steps == 0:
            return 0
        if self.unlimited:
            return math.inf
        if self.agent.iteration_steps == 0:
            return self.agent.num_iterations
        return max(self.planned_steps - self.explore_steps, 0) // self.iteration_steps

    @property
    def variation_iteration(self) -> float:
        """Iterations with unchanged physics; infinity if the physics never changes."""
        if self.variation.at_step == 0 or self.iteration_steps == 0:
            return math.inf
        return max(-((self.explore_steps - self.variation.at_step) // self.iteration_steps), 0)


def thread_count(threads: int) -> int:
    """Return the number of CPU threads to use: `threads`, or for 0 all cores, at most 8."""
    if threads:
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_DEFAULT_THREADS)


def check_horizons(name: str, horizons: Sequence[int]) -> None:
    """Raise UsageError if horizons are not positive numbers of steps that increase."""
    if not horizons or min(horizons) < 1 or list(horizons) != sorted(set(horizons)):
        raise UsageError(f"{name}: expected increasing numbers of steps of 1 or more, got {list(horizons)}")


def head_update_count(head_updates: int | Literal["auto"], updates: int) -> int:
    """Return the gradient steps of each goal head, for a world model with `updates` gradient steps."""
    return min(DEFAULT_UPDATES, updates) if head_updates == "auto" else head_updates
