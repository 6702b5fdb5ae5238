"""Whether a latent space has shrunk: an alarm, never a ranking."""

from __future__ import annotations

import numpy as np


def effective_rank(z: np.ndarray) -> float:
    """How many directions z (N, Z) uses: exp of the entropy of its centred singular values.

    After Roy and Vetterli (2007). Between 1 and Z; 1 where z does not vary at all.
    """
    values = np.linalg.svd(z - z.mean(0), compute_uv=False)
    if values.sum() <= 1e-9 * (1 + np.abs(z).max()) * len(z):
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def dead_dimensions(z: np.ndarray) -> int:
    """How many dimensions of z (N, Z) hardly vary: under a hundredth of the median spread."""
    spread = z.std(0)
    return int((spread <= max(1e-7, 0.01 * float(np.median(spread)))).sum())
