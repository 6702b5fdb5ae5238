"""Sampling of the time steps of some lanes of a stream."""

from __future__ import annotations

import numpy as np

from robossl.core.errors import UsageError


class LaneSampler:
    """Samples time steps of some lanes, uniformly; see `streams.sampling.Sampler`."""

    def __init__(self, lanes: np.ndarray) -> None:
        """Sample the lanes (n,), which are consecutive."""
        self._lanes = lanes

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lanes and positions (count,)."""
        counts = self.available(limits)
        if not counts.any():
            raise UsageError(
                "the agent's lanes of the stream hold no transition yet; record some steps first"
            )
        stop = np.cumsum(counts)
        flat = rng.integers(stop[-1], size=count)
        index = np.searchsorted(stop, flat, "right")
        return self._lanes[index], flat - (stop - counts)[index]

    def available(self, limits: np.ndarray) -> np.ndarray:
        """Return the numbers of candidate time steps (n,) of these lanes, given those of all lanes (L,)."""
        return np.maximum(limits[self._lanes], 0)

    def contain(self, lane: np.ndarray) -> bool:
        """Return whether all of `lane` (B,) are among these."""
        return bool(self._lanes[0] <= lane.min() and lane.max() <= self._lanes[-1])
