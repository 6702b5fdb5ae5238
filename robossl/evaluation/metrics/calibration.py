"""Whether the model knows when it is wrong: what it says of its error beside its error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robossl.core.statistics import spearman
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.latents import Doubt, imagine, model_uncertainty

_erf = np.vectorize(math.erf, otypes=[float])


def calibration(model: Any, held: HeldOutData, by: Doubt = "uncertainty") -> float:
    """The rank correlation of `uncertainty` (or of `disagreement`) with the one-step error in z, on held-out steps."""
    expected, missed = _steps(model, held, by)
    return spearman(expected, np.sum(missed**2, -1))


def pit_error(model: Any, held: HeldOutData) -> float:
    """How far the errors are from what `uncertainty` says, in size and in shape: 0 is none, 0.5 most.

    Every number of z is taken to miss by a normal error of that size; where it fell within that distribution (the
    probability integral transform) is uniform if this is true. The figure is the mean distance between the
    distribution of these places and the uniform one: 0.25 where errors are far smaller than expected, or far larger.
    It is of shape as well as of size: where some numbers err far more than others, or rare errors are huge, it is not 0
    even if their mean square is as expected.
    """
    expected, missed = _steps(model, held, "uncertainty")
    units = missed / np.maximum(expected, 1e-12)[:, None]
    places = np.sort(0.5 * (1 + _erf(units.reshape(-1) / np.sqrt(2))))
    even = (np.arange(len(places)) + 0.5) / len(places)
    return float(np.mean(np.abs(places - even)))


def _steps(model: Any, held: HeldOutData, by: Doubt) -> tuple[np.ndarray, np.ndarray]:
    """Of held-out steps the error (B,) that the model expects, and what it misses z by (B, Z)."""
    steps = subsample(held.test.pairs(1), 2000, held.seed, "calibration")
    action = held.test.action[steps]
    ahead = imagine(model, held.test_z[steps], action[:, None])[:, -1]
    return model_uncertainty(model, held.test_z[steps], action, by), ahead - held.test_z[steps + 1]
