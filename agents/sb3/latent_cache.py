"""Latents of recorded images, which a frozen encoder computes once instead of each time they are replayed."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core import spaces
from robossl.core.interfaces import Representation
from robossl.streams import Stream
from robossl.streams.schema import observation_name
from robossl.world_model import WorldModel

_ENCODED_PER_CALL = (
    16  # time steps; calls of one size, so that a latent does not depend on which others are missing
)
_CAPACITY = 1 << 17  # [time steps] of all lanes; a newer time step replaces one that is this much older


class LatentCache:
    """Latents (Z,) by time step of a stream, for the current representation; the memory is bounded.

    It is no state: a latent that is missing is computed again, to the same bits.
    """

    def __init__(self, stream: Stream, image_paths: tuple[str, ...], lanes: np.ndarray) -> None:
        """Create an empty cache.

        Args:
            stream: Recorded observations.
            image_paths: Paths of the images, whose change since the previous time step is encoded.
            lanes: (n,) lanes that are replayed; consecutive.
        """
        self._stream, self._paths, self._first = stream, image_paths, int(lanes[0])
        self._shape = len(lanes), max(_CAPACITY // len(lanes), 1)
        self._representation: Representation | None = None
        self._rows = np.full(self._shape, -1, np.int64)  # the time step in each place; -1: none
        self._latents = np.empty((*self._shape, 0), np.float32)

    def encode(self, representation: WorldModel, lane: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return z (B, Z) of the time steps `row` (B,) of `lane` (B,)."""
        if representation is not self._representation:
            self._representation = representation
            self._rows[:] = -1
            self._latents = np.empty((*self._shape, representation.latent_dim), np.float32)
        place = lane - self._first, row % self._shape[1]
        missing = np.flatnonzero(self._rows[place] != row)
        if len(missing):
            pairs = np.unique(np.stack([lane[missing], row[missing]], 1), axis=0)
            for start in range(0, len(pairs), _ENCODED_PER_CALL):
                chunk = pairs[start : start + _ENCODED_PER_CALL]
                z = self._encode(representation, *np.resize(chunk, (_ENCODED_PER_CALL, 2)).T)[: len(chunk)]
                lanes, rows = chunk[:, 0] - self._first, chunk[:, 1]
                self._rows[lanes, rows % self._shape[1]] = rows
                self._latents[lanes, rows % self._shape[1]] = z
        if (self._rows[place] != row).any():  # two of these time steps have the same place
            return self._encode(representation, lane, row)
        return self._latents[place]

    def _encode(self, representation: WorldModel, lane: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return z (B, Z), computed from the images of the time steps and of the previous ones."""
        space = self._stream.observation_space
        names = {path: observation_name(path) for path in spaces.leaves(space)}
        now = self._stream.gather(lane, row, names.values())
        previous = images_before(self._stream, self._paths, lane, row)
        parts = {path: now[name] for path, name in names.items()}
        observation, earlier = (
            spaces.unflatten_by_path(space, each) for each in (parts, {**parts, **previous})
        )
        return np.asarray(representation.encode(observation, earlier), np.float32)


def images_before(
    stream: Stream, paths: tuple[str, ...], lane: np.ndarray, row: np.ndarray
) -> dict[str, Any]:
    """Return the images (B, H, W, C) one step before time steps by path; of the first of an episode its own."""
    is_first = stream.gather(lane, row, ["is_first"])["is_first"]
    fields = {path: observation_name(path) for path in paths}
    rows = stream.gather(lane, np.where(is_first, row, row - 1), fields.values())
    return {path: rows[name] for path, name in fields.items()}
