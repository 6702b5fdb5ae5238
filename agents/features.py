"""What an agent sees: the latent, the observation's own numbers, and the goal, as one flat vector."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.contracts import Representation
from robossl.core.errors import RequestError


class Features:
    """Observations (n, ...) of an env -> features (n, F) float32: concat(z, vector leaves, goals).

    Without a representation the vector leaves alone (raw observation): what the frozen encoder cannot see
    is still seen, and the control group sees everything but z. Images reach an agent through z only.
    The representation is held, not copied: whoever adopts a newer one changes it here, for acting and
    for replay alike.
    """

    def __init__(self, space: gym.Space, representation: Representation | None = None) -> None:
        """`space` is the observation space of a single lane."""
        self.space = space
        self.representation = representation
        self._vectors = {p: s for p, s in spaces.leaves(space).items() if not spaces.is_image(s)}
        self.latent = representation.latent if representation is not None else 0
        self.size = self.latent + sum(map(_width, self._vectors.values()))
        if self.size == 0:
            raise RequestError(
                "the observation has images only, and an agent on raw observations sees numbers only; "
                "give it a representation"
            )
        self.box = gym.spaces.Box(-np.inf, np.inf, (self.size,), np.float32)

    def __call__(self, observation: Any) -> np.ndarray:
        """(n, F) float32 of a batch as the vector env returned it."""
        parts = spaces.split(self.space, observation)
        columns = [_columns(leaf, parts[path]) for path, leaf in self._vectors.items()]
        if self.representation is not None:
            columns.insert(0, np.asarray(self.representation.encode(observation), np.float32))
        return np.concatenate(columns, axis=1)

    def adopt(self, representation: Representation) -> None:
        """Go on with a newer version; its latent must have the same size."""
        if self.representation is None:
            raise RequestError("this agent acts on raw observations; it has no representation to renew")
        if representation.latent != self.latent:
            raise RequestError(
                f"the representation has a latent of {representation.latent}; the agent was made for {self.latent}"
            )
        self.representation = representation


def _width(leaf: gym.Space) -> int:
    if isinstance(leaf, gym.spaces.Discrete):
        return int(leaf.n)
    if isinstance(leaf, gym.spaces.MultiDiscrete):
        return int(leaf.nvec.sum())
    return int(np.prod(leaf.shape or (1,)))


def _columns(leaf: gym.Space, values: np.ndarray) -> np.ndarray:
    """(n, width) float32: boxes as they are, categories one-hot."""
    count = len(values)
    if isinstance(leaf, gym.spaces.Discrete):
        return np.eye(int(leaf.n), dtype=np.float32)[values.reshape(-1).astype(np.int64) - int(leaf.start)]
    if isinstance(leaf, gym.spaces.MultiDiscrete):
        flat = values.reshape(count, -1).astype(np.int64) - leaf.start.reshape(-1)
        blocks = [np.eye(int(n), dtype=np.float32)[flat[:, i]] for i, n in enumerate(leaf.nvec.reshape(-1))]
        return np.concatenate(blocks, axis=1)
    return np.asarray(values, np.float32).reshape(count, -1)
