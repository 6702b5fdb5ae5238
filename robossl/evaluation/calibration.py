"""Whether the model knows when it is wrong: what it says of its error beside its error."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.evaluation.held import Held, draw
from robossl.evaluation.latents import Doubt, doubt, imagine
from robossl.evaluation.statistics import spearman


def calibration(model: Any, held: Held, by: Doubt = "uncertainty") -> float:
    """The rank correlation of `uncertainty` (or of `disagreement`) with the one-step error in z, on held-out steps."""
    steps = draw(held.test.pairs(1), 2000, held.seed, "calibration")
    action = held.test.action[steps]
    ahead = imagine(model, held.test_z[steps], action[:, None])[:, -1]
    error = np.sum((ahead - held.test_z[steps + 1]) ** 2, -1)
    return spearman(doubt(model, held.test_z[steps], action, by), error)
