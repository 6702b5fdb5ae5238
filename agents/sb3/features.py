"""What an agent sees: the latent, the observation's own numbers, and the goal, as one flat vector."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.interfaces import Representation

_LENGTH = 0.25  # of a latent beside the numbers it was made from


class FeatureBuilder:
    """Observations (n, ...) of an env -> features (n, F) float32: concat(z, vector leaves, goals).

    The latent is scaled, see `latent_scale`. What the encoder does not see is still seen, and the control
    group, without a representation, sees everything but z. Images reach an agent through z only. The
    representation is held, not copied: whoever adopts a newer one changes it here, for acting and for
    replay alike.
    """

    def __init__(self, space: gym.Space, representation: Representation | None = None) -> None:
        """`space` is the observation space of a single lane."""
        self.space = space
        self.representation = representation
        self._vectors = {p: s for p, s in spaces.leaves(space).items() if not spaces.is_image(s)}
        self.latent_dim = representation.latent_dim if representation is not None else 0
        self.size = self.latent_dim + sum(width(leaf) for leaf in self._vectors.values())
        self._scale = np.float32(latent_scale(space, self.latent_dim))
        if self.size == 0:
            raise UsageError(
                "the observation has images only, and an agent on raw observations sees numbers only; "
                "give it a representation"
            )
        self.box = gym.spaces.Box(-np.inf, np.inf, (self.size,), np.float32)

    def __call__(self, observation: Any) -> np.ndarray:
        """(n, F) float32 of a batch as the vector env returned it."""
        parts = spaces.flatten_by_path(self.space, observation)
        columns = [_columns(leaf, parts[path]) for path, leaf in self._vectors.items()]
        if self.representation is not None:
            z = np.asarray(self.representation.encode(observation), np.float32)  # (n, Z) of unit variance
            columns.insert(0, z * self._scale)
        return np.concatenate(columns, axis=1)

    def set_representation(self, representation: Representation) -> None:
        """Go on with a newer version; its latent must have the same size."""
        if self.representation is None:
            raise UsageError("this agent acts on raw observations; it has no representation to renew")
        if representation.latent_dim != self.latent_dim:
            raise UsageError(
                f"the representation has a latent of {representation.latent_dim}; the agent was made for {self.latent_dim}"
            )
        self.representation = representation


def latent_scale(space: gym.Space, latent: int) -> float:
    """What z [..., Z], of unit variance, is multiplied by before an agent sees it.

    Beside the numbers it was made from, it is shortened to a length of about 0.25. An optimiser that
    moves every weight by the same amount a step (Adam) lets many coordinates of unit variance drown the few
    of the observation: on the Reacher, SAC then learned at half the pace that it has on raw observations.
    Where the encoder reads images, z keeps its unit variance: there it says what nothing else does.
    """
    seeing = any(spaces.is_image(leaf) for leaf in spaces.model_inputs(space).values())
    return 1.0 if seeing or latent == 0 else _LENGTH / float(np.sqrt(latent))


def width(leaf: gym.Space) -> int:
    """How many numbers a leaf of an observation is: its values, or one for each category."""
    if isinstance(leaf, gym.spaces.Discrete):
        return int(leaf.n)
    if isinstance(leaf, gym.spaces.MultiDiscrete):
        return int(leaf.nvec.sum())
    return int(np.prod(leaf.shape or (), dtype=int))


def _columns(leaf: gym.Space, values: np.ndarray) -> np.ndarray:
    """(n, width) float32: boxes as they are, categories one-hot."""
    flat = np.asarray(values).reshape(len(values), -1)
    if isinstance(leaf, gym.spaces.Discrete):
        return _one_hot(flat[:, 0] - leaf.start, int(leaf.n))
    if isinstance(leaf, gym.spaces.MultiDiscrete):
        digits = flat - leaf.start.reshape(-1)
        blocks = [_one_hot(digits[:, i], int(n)) for i, n in enumerate(leaf.nvec.reshape(-1))]
        return np.concatenate(blocks, axis=1)
    return flat.astype(np.float32, copy=False)


def _one_hot(index: np.ndarray, count: int) -> np.ndarray:
    """(n, count) float32 of whole numbers (n,) from 0."""
    columns = np.zeros((len(index), count), np.float32)
    columns[np.arange(len(index)), index.astype(np.int64)] = 1.0
    return columns
