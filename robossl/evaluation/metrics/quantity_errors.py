"""Errors of forecasts by named quantity: joint positions, velocities, an object, or the observed values."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.latents import imagine
from robossl.evaluation.metrics.probes import varying_quantities
from robossl.evaluation.metrics.ridge import fit_ridge
from robossl.world_model import WorldModel

HORIZONS = (1, 10, 25)  # [steps]
_MAX_WINDOWS = 500
_MIN_WINDOWS = 20


def quantity_errors(model: WorldModel, heldout: HeldOutData) -> dict[str, dict[str, Any]]:
    """Return the error of each quantity, read by a linear probe from imagined latents.

    Returns:
        By quantity: {"dimensions", "std": root mean square over dimensions of the standard deviation on probe, in the
        unit of the quantity, "horizons": {"<steps>": {"rmse": root mean square error in units of the standard
        deviation of each dimension, "no_change": the same of the value at the start, "absolute": in the unit of the
        quantity, "n": forecasts}}}.

    Raises:
        UsageError: The test episodes are too short or too few, or all quantities are constant.
    """
    varying = varying_quantities(heldout)
    horizons = [h for h in HORIZONS if len(heldout.test.starts(h)) >= _MIN_WINDOWS]
    if not varying or not horizons:
        raise UsageError(
            "all quantities are constant"
            if not varying
            else "the test episodes are too short or too few to forecast"
        )
    groups = heldout.probe.episode
    probes = {name: fit_ridge(heldout.probe_z, on_probe, groups) for name, (on_probe, _) in varying.items()}
    found: dict[str, dict[str, Any]] = {
        name: {
            "dimensions": int(on_probe.shape[1]),
            "std": float(np.sqrt(np.mean(on_probe.std(0) ** 2))),
            "horizons": {},
        }
        for name, (on_probe, _) in varying.items()
    }
    for horizon in horizons:
        starts = subsample(heldout.test.starts(horizon), _MAX_WINDOWS, heldout.seed, "quantities", horizon)
        actions = heldout.test.action[starts[:, None] + np.arange(horizon)]
        latents = imagine(model, heldout.test_z[starts], actions)[:, -1]
        for name, (on_probe, on_test) in varying.items():
            std = on_probe.std(0)  # (k,)
            true = on_test[starts + horizon]
            error, change = probes[name](latents) - true, on_test[starts] - true  # (B, k) each
            found[name]["horizons"][str(horizon)] = {
                "rmse": _rms(error / std),
                "no_change": _rms(change / std),
                "absolute": _rms(error),
                "n": len(starts),
            }
    return found


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
