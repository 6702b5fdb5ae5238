"""Calibration: compare the error predicted by a model with its error on held-out steps."""

from __future__ import annotations

import math

import numpy as np

from robossl.core.statistics import spearman
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.latents import UncertaintySource, imagine, model_uncertainty
from robossl.world_model import WorldModel

_MAX_STEPS = 2000  # held-out steps
_BINS = 10  # of the reliability plot
_erf = np.vectorize(math.erf, otypes=[float])


def calibration(model: WorldModel, heldout: HeldOutData, source: UncertaintySource = "uncertainty") -> float:
    """Return the rank correlation of the predicted one-step error in z with the true one on held-out steps."""
    predicted, error = _one_step_errors(model, heldout, source)
    return spearman(predicted, np.sum(error**2, -1))


def pit_error(model: WorldModel, heldout: HeldOutData) -> float:
    """Return the distance of the probability integral transform of the errors from uniform: 0 (best) to 0.5.

    Each dimension of z is assumed to have a normal error with the standard deviation `uncertainty`. The metric is the
    mean distance between the empirical distribution of the transformed errors and the uniform distribution: 0.25 if
    errors are far smaller or far larger than predicted. It depends on the shape too: if some dimensions have far
    larger errors than others, or errors have heavy tails, it is positive even if the mean square is as predicted.
    """
    predicted, error = _one_step_errors(model, heldout, "uncertainty")
    normalized = error / np.maximum(predicted, 1e-12)[:, None]
    transformed = np.sort(0.5 * (1 + _erf(normalized.reshape(-1) / np.sqrt(2))))
    uniform = (np.arange(len(transformed)) + 0.5) / len(transformed)
    return float(np.mean(np.abs(transformed - uniform)))


def calibration_curve(model: WorldModel, heldout: HeldOutData) -> dict[str, list[float]]:
    """Return predicted and true one-step errors in bins of the predicted one, for a reliability plot.

    Returns:
        {"predicted": root mean square of `uncertainty`, "true": root mean square error of a dimension of z, "n": steps}
        with a value for each of at most ten bins with equally many steps. A calibrated model has equal values.
    """
    predicted, error = _one_step_errors(model, heldout, "uncertainty")
    true = np.mean(error**2, -1)  # (B,)
    bins = np.array_split(np.argsort(predicted, kind="stable"), min(_BINS, max(len(predicted) // 10, 1)))
    return {
        "predicted": [float(np.sqrt(np.mean(predicted[part] ** 2))) for part in bins],
        "true": [float(np.sqrt(true[part].mean())) for part in bins],
        "n": [len(part) for part in bins],
    }


def _one_step_errors(
    model: WorldModel, heldout: HeldOutData, source: UncertaintySource
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted error (B,) and the true error of z (B, Z) of held-out steps."""
    steps = subsample(heldout.test.starts(1), _MAX_STEPS, heldout.seed, "calibration")
    action = heldout.test.action[steps]
    z_next = imagine(model, heldout.test_z[steps], action[:, None])[:, -1]
    predicted = model_uncertainty(model, heldout.test_z[steps], action, source)
    return predicted, z_next - heldout.test_z[steps + 1]
