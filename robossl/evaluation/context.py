"""Evaluation context: what is evaluated, with which settings, and the results so far."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from robossl import registry
from robossl.core.interfaces import NullProgress, Policy, ProgressReporter
from robossl.core.step_duration import step_duration

if TYPE_CHECKING:
    from robossl.streams import Stream
    from robossl.world_model import WorldModel

EVALUATION_SEED = 7_000_000  # plus the seed of the run; training seeds are 63-bit hashes, so they differ
OPTIONAL_SECTIONS = (
    "robustness",
    "imitation",
    "oracle_gap",
)  # computed on request, because they take minutes
# Keyword arguments of an env that change its observations.
_OBSERVATION_SETTINGS = ("model", "pixels", "proprioception", "camera", "substeps")


@dataclass
class EvaluationContext:
    """Input of every report section: what is evaluated, the settings, and the results of earlier sections.

    A section raises `Unavailable` if a field that it needs is None or empty.
    """

    env: str  # env id
    seed: int = 0  # seed of the run; use `evaluation_seed` to draw held-out episodes
    model: WorldModel | None = None
    stream: Stream | None = None  # of a run the steps of exploration, which no rewarded agent chose
    # settings of the envs that change observations, if there is no stream
    env_settings: Mapping[str, Any] = field(default_factory=dict)
    agents: Mapping[str, Policy] = field(default_factory=dict)  # row of the control table -> agent
    agent: str | None = None  # name of the main one of them
    agent_names: Mapping[str, str] = field(default_factory=dict)  # row -> name of its agent
    agent_steps: int | None = None  # env steps that each agent was trained for
    updates: int = 0  # gradient steps of the model
    make_envs: Callable[..., gym.vector.VectorEnv] | None = (
        None  # (num_envs, **settings); by default the envs of the registry
    )
    episodes: int = 20  # held-out episodes of a row of the control table
    goal_horizons: Sequence[int] = (10, 25, 50, 100)  # [steps] between start and goal
    goal_trials: int = 25  # start-goal pairs at each horizon; 0 skips goal reaching
    reward_free_control: bool = True  # whether policies without reward act in the env's own episodes
    ablation_updates: int | None = None  # gradient steps of an ablation variant; None skips the ablation
    also: Sequence[str] = ()  # sections of OPTIONAL_SECTIONS that are requested
    videos: bool = True
    threads: int = 1  # CPU threads of the envs
    device: str = "cpu"
    config: str = ""  # TOML
    folder: Path | None = None  # of the report; None writes no files
    progress: ProgressReporter = field(default_factory=NullProgress)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # section -> data
    missing: dict[str, str] = field(default_factory=dict)  # dotted key -> reason
    seconds: dict[str, float] = field(default_factory=dict)  # [s] by phase
    control_rows: dict[str, Any] = field(
        default_factory=dict
    )  # of the section "control", before it is finished
    save: Callable[[], None] = lambda: None  # called after each row and section

    def __post_init__(self) -> None:
        if self.make_envs is None:
            self.make_envs = functools.partial(registry.make_envs, self.env)

    @property
    def evaluation_seed(self) -> int:
        """Seed of held-out episodes and goals, which training does not use."""
        return EVALUATION_SEED + self.seed

    def envs(self, num_envs: int, **settings: Any) -> gym.vector.VectorEnv:
        """Return envs as in `make_envs`, with the threads of this evaluation."""
        assert self.make_envs is not None
        return self.make_envs(num_envs, threads=self.threads, **settings)

    def step_seconds(self) -> float | None:
        """Return the duration of one step of the recorded envs [s]; None if unknown."""
        return step_seconds(self.env, **self.observation_settings)

    @property
    def observation_settings(self) -> dict[str, Any]:
        """Settings of the envs that change observations: those of the recorded envs, if there is a stream."""
        return dict(self.env_settings) if self.stream is None else recorded_settings(self.stream)


def recorded_settings(stream: Stream) -> dict[str, Any]:
    """Return the settings of the recorded envs that change observations: pixels, camera, ..."""
    env_kwargs = stream.header.get("env_kwargs") or {}
    return {name: env_kwargs[name] for name in _OBSERVATION_SETTINGS if env_kwargs.get(name)}


def step_seconds(env: str, **settings: Any) -> float | None:
    """Return the duration of one step of an env [s]; None if unknown."""
    envs = registry.make_envs(env, 1, **settings)
    try:
        return step_duration(envs).seconds
    finally:
        envs.close()
