"""Who promises what to whom: the few contracts that cross the rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Observation = Any  # what a VectorEnv returned: an array (n, ...), or a dict of such arrays
Action = np.ndarray  # (n, A) float32, or (n,) integers
Tree = Any  # what core.files.save_tree can write


@runtime_checkable
class Policy(Protocol):
    """What chooses actions for a batch of lanes."""

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """One action for each lane."""

    def reset(self, mask: np.ndarray | None = None) -> None:
        """A new episode begins in the lanes of `mask` (n,) bool; in all of them without one."""


class Representation(Protocol):
    """A frozen encoder with a version: what the world model publishes and agents adopt."""

    latent: int  # Z
    version: int

    def encode(self, observation: Any) -> Any:
        """z [..., Z] float32; arrays in, arrays out; tensors in, tensors out."""


@runtime_checkable
class Agent(Policy, Protocol):
    """A mind: acts, learns, adopts a newer representation, is saved and loaded without pickle."""

    def learn(self, envs: Any, steps: int, progress: ProgressReporter | None = None) -> None:
        """Act and learn for `steps` environment steps, all lanes together."""

    def set_representation(self, representation: Representation) -> None:
        """Go on with a newer version of the representation."""

    def reset_envs(self, envs: Any) -> None:
        """The envs could not be taken up where they were: reset them before the next step."""

    def save(self, folder: str | Path) -> None:
        """Write the agent as JSON and safetensors."""

    def get_checkpoint(self) -> Tree:
        """Everything needed to go on to the same bits."""

    def set_checkpoint(self, tree: Tree) -> None:
        """Go on where `get_checkpoint` was."""


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

    def state(self) -> dict[str, np.ndarray]:
        """Privileged quantities by name, each (n, k) float64; for probes, never shown to a model."""

    def physics(self) -> np.ndarray:
        """(n, P) float64: the complete physics of each lane, enough to go on from there to the same bits."""

    def restore(
        self, physics: np.ndarray, ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Observation:
        """Put lanes `ids` into recorded `physics` rows (m, P), with goals (m, G) where the task has them."""


@runtime_checkable
class FinalStateEnv(Protocol):
    """A Physical vector env that resets within the step, and still knows how its lanes ended."""

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`state()` and `physics()` at the end of the last step in which a lane ended, before any was reset."""


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
