"""Who promises what to whom: the few contracts that cross the rooms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Observation = Any  # what a VectorEnv returned: an array (n, ...), or a dict of such arrays
Action = np.ndarray  # (n, A) float32, or (n,) integers
Tree = Any  # what core.files.save_tree can write


@runtime_checkable
class Policy(Protocol):
    """A policy that acts in a batch of sub-environments."""

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return one action for each sub-environment; `explore=False` requests the deterministic action."""

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool; in all of them without a mask."""


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
    `load` (a class with this constructor and the classmethod below is a factory). The settings are JSON values.
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
        """Write the agent's own files (JSON and safetensors) into `folder`; the caller writes agent.json."""

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> Agent:
        """Return the agent that `save` wrote, ready to act in `envs`."""

    def get_checkpoint(self) -> Tree:
        """Return everything that determines future actions and updates, except the state of `envs`."""

    def set_checkpoint(self, tree: Tree) -> None:
        """Continue from `get_checkpoint`, to the same bits."""


@runtime_checkable
class Checkpointable(Protocol):
    """Something whose life can be saved and taken up elsewhere with the same future."""

    def get_checkpoint(self) -> Tree:
        """Everything that decides the future."""

    def set_checkpoint(self, tree: Tree) -> None:
        """Go on where `get_checkpoint` was."""


@runtime_checkable
class PhysicsStateEnv(Protocol):
    """A vector env that knows the physical truth of its lanes."""

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Privileged quantities by name, each (n, k) float64; for probes, never shown to a model."""

    def get_physics_state(self) -> np.ndarray:
        """(n, P) float64: the complete physics of each lane, enough to go on from there to the same bits."""

    def set_physics_state(
        self, physics: np.ndarray, ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Observation:
        """Put lanes `ids` into recorded `physics` rows (m, P), with goals (m, G) where the task has them."""


@runtime_checkable
class FinalStateEnv(Protocol):
    """A Physical vector env that resets within the step, and still knows how its lanes ended."""

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`privileged_state()` and `get_physics_state()` at the end of the last step in which a lane ended, before any was reset."""


@runtime_checkable
class PoseEnv(Protocol):
    """A vector env that can take the pose an observation tells: what a model imagined can then be drawn."""

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """(m, P) `physics` rows at rest in the poses that observations (m, D) tell; None if they tell none."""


class ProgressReporter(Protocol):
    """Where long work says how far it is."""

    def start(self, phase: str, total: int, unit: str) -> None:
        """A phase of `total` units begins."""

    def update(self, count: int, **figures: float) -> None:
        """`count` more units are done; figures are worth showing."""

    def stop(self) -> None:
        """The phase is over."""

    def message(self, text: str) -> None:
        """Something worth a line of its own, said once."""

    def close(self) -> None:
        """All phases are over."""


class MetricLogger(Protocol):
    """Destination of scalar metrics."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write named values at an environment step."""


class NullLogger:
    """Logger without output."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write nothing."""


class NullProgress:
    """Progress that says nothing."""

    def start(self, phase: str, total: int, unit: str) -> None:
        """Says nothing."""

    def update(self, count: int, **figures: float) -> None:
        """Says nothing."""

    def stop(self) -> None:
        """Says nothing."""

    def message(self, text: str) -> None:
        """Says nothing."""

    def close(self) -> None:
        """Says nothing."""
