"""Interfaces between packages: policies, agents, representations, env capabilities, progress and loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import VectorEnv

Observation = Any  # from a VectorEnv: an array (n, ...), or a dict of such arrays
Action = np.ndarray  # (n, A) float32, or (n,) integers
Tree = Any  # nested dicts and lists for core.io.save_tree
# key of the info of a step that returned an unusable number, which ended the episode: which number it was
UNUSABLE = "robossl_unusable"
UNUSABLE_FRACTION = 0.05  # of the steps; a recording with more unusable steps ends


@runtime_checkable
class Policy(Protocol):
    """A policy that acts in a batch of sub-environments."""

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return one action for each sub-environment; `explore=False` requests the deterministic action."""

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool; in all of them without a mask."""


@runtime_checkable
class LearningPolicy(Policy, Protocol):
    """An exploration policy that learns, while it acts, from the stream that its steps are recorded in."""

    def attach(
        self,
        stream: Any,
        num_steps: int,
        device: str = "auto",
        progress: ProgressReporter | None = None,
    ) -> None:
        """Learn from `stream` (a `robossl.streams.Stream`) from now on; called before the first step.

        The same seed and steps must lead to the same actions, bit by bit on a CPU: an interrupted exploration is
        recorded again.

        Args:
            stream: The stream that the steps of the policy are recorded in.
            num_steps: Env steps that will be recorded, summed over the sub-environments.
            device: Device of the networks.
            progress: Receives metrics and messages.

        Raises:
            UsageError: The policy cannot learn from these observations or actions.
        """


@runtime_checkable
class Representation(Protocol):
    """A frozen, versioned encoder: the world model publishes it, agents act on it."""

    latent_dim: int  # Z
    version: int  # increases with each published version

    def encode(self, observation: Any) -> Any:
        """Return latents [..., Z] float32: arrays for array observations, tensors for tensors."""


@runtime_checkable
class Agent(Policy, Protocol):
    """An agent that acts, learns, uses a representation, and is saved and loaded without pickle.

    A factory `make(envs, representation=None, seed=0, device="auto", **settings) -> Agent` creates agents; it also has
    `load` (a class with this constructor and the classmethod below is a factory). The settings are JSON values. A
    factory with an attribute `needs_representation = True` cannot act on observations alone. Without exploration, an
    agent acts in any number of sub-environments.

    A factory with a parameter `stream` gets a recorded `Stream` (or None), whose spaces are those of `envs`. With an
    attribute `needs_stream = True` it cannot be trained without one, and with `needs_reward = True` the rewards of that
    stream must be those of the env.
    """

    def learn(
        self,
        envs: VectorEnv,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
    ) -> None:
        """Act in `envs` and learn for `steps` environment steps, summed over the sub-environments.

        Args:
            envs: The envs that the agent was created with.
            steps: Environment steps of this call. Learning for N and then for M steps equals learning for N + M.
            progress: Receives `update(count)` for every vector step.
            logger: Receives training metrics over the environment steps of this agent, counted from its creation.
        """

    def set_representation(self, representation: Representation) -> None:
        """Switch to a newer version of the representation; agents that use none ignore the call."""

    def reset_envs(self, envs: VectorEnv) -> None:
        """Reset `envs` before the next step of `learn`, because their state could not be restored."""

    def save(self, folder: str | Path) -> None:
        """Write the files of the agent (JSON and safetensors) into `folder`; the caller writes agent.json."""

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> Agent:
        """Return the agent that `save` wrote, ready to act in `envs`."""

    def get_checkpoint(self) -> Tree:
        """Return everything that determines future actions and updates, except the state of `envs`."""

    def set_checkpoint(self, tree: Tree) -> None:
        """Restore what `get_checkpoint` returned; the same inputs then give bit-identical actions and updates."""


@runtime_checkable
class OfflineAgent(Agent, Protocol):
    """An agent that also learns from the recorded stream of its factory, without env steps.

    A factory may have an attribute `offline_updates`, the default number of updates.
    """

    def learn_offline(
        self, updates: int, progress: ProgressReporter | None = None, logger: MetricLogger | None = None
    ) -> None:
        """Learn from the stream that the agent was created with.

        Args:
            updates: Updates of this call. Learning for N and then for M updates equals learning for N + M.
            progress: Receives `update(count)`.
            logger: Receives training metrics over the updates, counted from the creation of the agent.
        """


@runtime_checkable
class Checkpointable(Protocol):
    """Object whose state can be saved and restored; its future is then the same."""

    def get_checkpoint(self) -> Tree:
        """Return everything that determines the future."""

    def set_checkpoint(self, tree: Tree) -> None:
        """Restore what `get_checkpoint` returned."""


@runtime_checkable
class PhysicsStateEnv(Protocol):
    """Vector env that gives access to the physics state of its sub-environments."""

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return privileged quantities by name, each (n, k) float64. Probes use them; a model never does."""

    def get_physics_state(self) -> np.ndarray:
        """Return the complete physics state (n, P) float64; the future from it is bit-identical."""

    def set_physics_state(
        self, physics: np.ndarray, env_ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Observation:
        """Set sub-environments to physics states.

        Args:
            physics: (m, P) float64, as `get_physics_state` returns them.
            env_ids: (m,) sub-environments; all of them by default.
            goal: (m, G) goals, for goal tasks.

        Returns:
            The observation of all sub-environments.
        """


class Finding(NamedTuple):
    """What an examination of an env found: a result of `robossl check`."""

    name: str
    ok: bool | None  # None: information, nothing is wrong
    message: str
    reason: str = ""  # why it matters
    fix: str = ""  # what to change


@runtime_checkable
class ExaminedEnv(Protocol):
    """An env that can examine what it simulates, beyond its API."""

    def examine(self, seconds: float) -> list[Finding]:
        """Return the findings; it takes at most about `seconds` [s]."""


@runtime_checkable
class ModelDigestEnv(Protocol):
    """Vector env with a physics model whose content a resumed run compares with that of its start."""

    def model_digest(self) -> str:
        """Return a digest of the compiled model; it changes with any file that the model is made of."""


class StateOutcome(NamedTuple):
    """What steps that ended in m given states return."""

    observation: Observation  # (m, ...)
    reward: np.ndarray  # (m,) float64
    terminated: np.ndarray  # (m,) bool
    success: np.ndarray | None  # (m,) bool; None for a task without success


@runtime_checkable
class StateOutcomeEnv(PhysicsStateEnv, Protocol):
    """PhysicsStateEnv that computes the results of steps from the states in which they ended, without physics."""

    def outcome_of(
        self, physics: np.ndarray, action: np.ndarray, goal: np.ndarray | None = None
    ) -> StateOutcome:
        """Set the first m sub-environments to states and return the results of the steps that ended there.

        The results are those of `step`, to the bit.

        Args:
            physics: Physics states (m, P) after the steps, m at most `num_envs`.
            action: Actions (m, *A) of the steps.
            goal: Goals (m, G), for goal tasks; None keeps the goals.
        """


@runtime_checkable
class FinalStateEnv(Protocol):
    """PhysicsStateEnv that resets within the step (SAME_STEP mode) and keeps the final state of each episode."""

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return `privileged_state()` and `get_physics_state()` at the end of the last step that ended an episode.

        Both are from before the reset.
        """


@runtime_checkable
class PoseEnv(Protocol):
    """Vector env that can be posed from an observation, to render imagined observations."""

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """Return physics states (m, P) at rest in the poses of observations (m, D); None if they have no pose."""


@runtime_checkable
class RecordedInfosEnv(Protocol):
    """Vector env that knows which of its infos are worth recording."""

    def recorded_infos(self) -> list[str]:
        """Return the keys of infos that are numbers; a dotted key is an entry of a nested info."""


class ProgressReporter(Protocol):
    """Reports the progress of long operations."""

    def start(self, phase: str, total: int, unit: str) -> None:
        """Begin a phase of `total` units."""

    def update(self, count: int, **metrics: float) -> None:
        """Add `count` finished units; `metrics` are displayed."""

    def stop(self) -> None:
        """End the phase."""

    def message(self, text: str) -> None:
        """Print a message once, on a line of its own."""

    def close(self) -> None:
        """End the report after the last phase."""


class MetricLogger(Protocol):
    """Destination of scalar metrics."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write named values at an environment step."""


class NullLogger:
    """Logger without output."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write nothing."""


class NullProgress:
    """Progress reporter without output."""

    def start(self, phase: str, total: int, unit: str) -> None:
        """Report nothing."""

    def update(self, count: int, **metrics: float) -> None:
        """Report nothing."""

    def stop(self) -> None:
        """Report nothing."""

    def message(self, text: str) -> None:
        """Report nothing."""

    def close(self) -> None:
        """Report nothing."""
