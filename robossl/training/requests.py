"""Requests of the single steps: all arguments of collect, pretrain, train and evaluate, with their defaults.

The command line and the Python functions create a request and pass it to the function that runs the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.limits import LARGEST_EPISODES, LARGEST_THREADS, check_count
from robossl.core.simulation_backends import DEFAULT, check_backend_name
from robossl.evaluation.context import OPTIONAL_SECTIONS
from robossl.training.config import (
    ENCODERS,
    AgentConfig,
    EvaluateConfig,
    ExploreConfig,
    GoalsConfig,
    check_horizons,
    head_update_count,
)

if TYPE_CHECKING:
    from torch.nn import Module

    from robossl.core.interfaces import Policy, Representation
    from robossl.registry import EnvLike
    from robossl.streams import Stream
    from robossl.streams.relabel import RewardFunction
    from robossl.world_model import WorldModel
    from robossl.world_model.config import WorldModelConfig


@dataclass(frozen=True)
class CollectRequest:
    """Record the steps of a policy in a stream."""

    envs: EnvLike  # a vector env, which is stepped itself; or what `num_envs` sub-environments are made of
    policy: str | Policy = ExploreConfig.policy  # a policy name, a run or agent folder, or a policy object
    steps: int = 50_000  # environment steps of all sub-environments
    out: str | Path | None = None
    seed: int = 0
    num_envs: int = 16  # sub-environments, if `envs` is an id or a file
    threads: int = 0
    pixels: int = 0  # edge of image observations, if `envs` is an id or a file; 0: the env's own observations
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the constructor of the env
    backend: str = DEFAULT  # that simulates an env of robossl: mujoco, warp
    device: str = "auto"  # of the simulation with backend warp: auto, cpu, cuda
    record_envs: int = 0  # sub-environments that are recorded; 0: all
    workers: int = (
        0  # collectors, each of which records a shard of whole episodes; 0: one stream, in this process
    )
    engine: str = "local"  # of the workers: local, processes of this machine; or ray

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("workers", self.workers, 0)
        if check_backend_name(self.backend) == DEFAULT and self.device not in ("auto", "cpu"):
            raise UsageError(f"device: expected backend='warp' with {self.device!r}, got backend='mujoco'")
        if self.engine != CollectRequest.engine and not self.workers:
            raise UsageError(f"engine: expected workers with {self.engine!r}, got none")
        check_count("record_envs", self.record_envs, 0)
        check_count("num_envs", self.num_envs)
        check_count("pixels", self.pixels, 0)
        _check_seed_and_threads(self.seed, self.threads)


@dataclass(frozen=True)
class RelabelRequest:
    """Write a stream again with the reward of another task, or of a function."""

    stream: Stream | str | Path
    task: str | None = None  # env id or MJCF file of the task
    out: str | Path | None = None
    # observation, action and next observation (n, ...) of transitions -> reward (n,)
    reward: RewardFunction | None = None
    seed: int = 0  # of new goals
    threads: int = 0

    def __post_init__(self) -> None:
        if (self.task is None) == (self.reward is None):
            got = "neither" if self.task is None else "both"
            raise UsageError(f"expected a task or a reward function to relabel a stream with, got {got}")
        _check_seed_and_threads(self.seed, self.threads)


@dataclass(frozen=True)
class PretrainRequest:
    """Train a world model on a stream, without reward."""

    stream: Stream | str | Path
    updates: int = 2000  # gradient steps
    config: WorldModelConfig | None = None  # None: the default for the observations of the stream
    out: str | Path | None = None
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    log: Sequence[str] = ()  # metric sinks beside metrics.jsonl
    encoder: Module | None = None  # used in place of the built-in encoder
    head_updates: int | Literal["auto"] = GoalsConfig.head_updates  # of each goal head; 0: none are fitted
    baseline: str | None = None  # a baseline representation in place of the world model; of `BASELINES`
    from_model: str | Path | None = None  # folder of a model whose weights are the initial ones

    def __post_init__(self) -> None:
        check_count("updates", self.updates)
        _check_seed_and_threads(self.seed, self.threads)
        check_count("head_updates", head_update_count(self.head_updates, 0), 0)
        if self.from_model is not None and self.baseline is not None:
            raise UsageError(f"from_model: expected no baseline beside it, got {self.baseline!r}")


@dataclass(frozen=True)
class TrainRequest:
    """Train an agent in an env."""

    env: EnvLike
    agent: str = AgentConfig.name
    # a world model, or the folder of a model or run
    representation: Representation | str | Path | None = None
    encoder: str | None = None  # one of ENCODERS; None: frozen with a representation, else none
    steps: int = 20_000  # environment steps of all sub-environments; with a stream, 0 learns from it alone
    num_envs: int = AgentConfig.num_envs
    threads: int = 0
    out: str | Path | None = None
    seed: int = 0
    device: str = "auto"
    log: Sequence[str] = ()  # metric sinks beside metrics.jsonl
    export_sb3: str | Path | None = None  # also write SB3's own zip file
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the agent
    callbacks: Sequence[Any] = ()  # SB3 callbacks
    stream: Stream | str | Path | None = None  # a recorded stream that the agent learns from as well
    # updates on the stream before the first environment step; None: as many as the agent's default
    offline_updates: int | None = None
    pixels: int = 0  # edge of image observations; 0: the env's own observations
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the constructor of the env

    def __post_init__(self) -> None:
        if self.steps == 0 and self.stream is None:
            raise UsageError(
                "steps 0 trains on a stream alone, got none; give --stream STREAM, or more steps"
            )
        check_count("steps", self.steps, 0)
        if self.offline_updates is not None:
            check_count("offline_updates", self.offline_updates, 0)
            if self.steps == self.offline_updates == 0:
                raise UsageError("steps 0 and offline_updates 0 train nothing; expected more of one of them")
            if self.stream is None:
                raise UsageError("offline updates need a recorded stream, got none; give --stream STREAM")
        check_count("num_envs", self.num_envs)
        check_count("pixels", self.pixels, 0)
        _check_seed_and_threads(self.seed, self.threads)
        if self.encoder is not None and self.encoder not in ENCODERS:
            raise UsageError(f"encoder: expected one of {', '.join(ENCODERS)}, got {self.encoder!r}")
        needs_model = self.encoder in ("frozen", "finetune", "cotrain")
        if needs_model and self.representation is None:
            raise UsageError(f"encoder {self.encoder} needs a world model; give --representation MODEL")
        if self.encoder == "none" and self.representation is not None:
            raise UsageError("encoder none uses no world model, got one; leave --representation out")

    @property
    def resolved_encoder(self) -> str:
        """The encoder, with None resolved."""
        return self.encoder or ("none" if self.representation is None else "frozen")


@dataclass(frozen=True)
class EvaluateRequest:
    """Evaluate a run, a world model or an agent, and write a report."""

    model: WorldModel | str | Path  # a world model, or the folder of a model, run or agent
    stream: Stream | str | Path | None = None  # None: the stream that the model was trained on
    env: EnvLike | None = None  # None: the env that the folder or stream was made for
    episodes: int = EvaluateConfig.episodes  # held-out episodes for each row of the control table
    goal_trials: int = GoalsConfig.trials
    # [steps] between start and goal; None: those of GoalsConfig. Given ones need an env with goals
    goal_horizons: Sequence[int] | None = None
    # of each goal head, for a model that has none; 0: none are fitted
    head_updates: int | Literal["auto"] = GoalsConfig.head_updates
    out: str | Path | None = None
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    videos: bool = True
    ablate: bool = False  # also train models with other objectives and compare
    updates: int | None = None  # gradient steps of each of them; None: as many as the model had
    also: Sequence[str] = ()  # sections of OPTIONAL_SECTIONS to add
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the constructor of the env

    def __post_init__(self) -> None:
        for name in self.also:
            if name not in OPTIONAL_SECTIONS:
                raise unknown_name_error("optional report section", name, OPTIONAL_SECTIONS)
        check_count("episodes", self.episodes, 1, LARGEST_EPISODES)
        check_count("goal_trials", self.goal_trials, 0, LARGEST_EPISODES)
        _check_seed_and_threads(self.seed, self.threads)
        check_count("head_updates", head_update_count(self.head_updates, 0), 0)
        if self.goal_horizons is not None:
            check_horizons("goal_horizons", self.goal_horizons)


def _check_seed_and_threads(seed: int, threads: int) -> None:
    check_count("seed", seed, 0)
    check_count("threads", threads, 0, LARGEST_THREADS)
