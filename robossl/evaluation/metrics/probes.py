"""Probes of physical quantities: linear and random-feature regressors from z, fitted on probe, scored on test."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.seeding import generator
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.metrics.ridge import fit_random_features, fit_ridge, r2

PROBE_SIZES = (100, 1_000, 10_000)  # labeled time steps that a probe is fitted on
_NUM_FEATURES = 512  # width of the random-feature regressor

Quantities = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (N, k) on probe, (M, k) on test


def probe_r2(heldout: HeldOutData) -> dict[str, dict[str, Any]]:
    """Return R2 of a linear probe of every privileged quantity, or of the observed values if there is none.

    Returns:
        By quantity: {"r2": of its worst dimension, "mean": over its dimensions, "observation": the worst R2 of a
        probe of the raw observation, "delta": R2 of its one-step change from the change of z, "dimensions"}.
        Quantities that are constant on test are omitted. Chance is 0; a probe may be worse than chance.
    """
    return {
        name: scores
        for name, (probe_values, test_values) in quantities(heldout).items()
        if (scores := _linear_probe(heldout, probe_values, test_values)) is not None
    }


def probe_curve(heldout: HeldOutData) -> dict[str, dict[str, Any]]:
    """Return R2 of probes by the number of labeled time steps they are fitted on.

    Returns:
        By number of time steps: {"linear" | "random_features": mean R2 over the quantities, "quantities": {name:
        {"linear", "random_features"}}}. The R2 of a quantity is averaged over its dimensions and floored at 0. The
        last entry uses all time steps of probe if there are fewer than 10,000.
    """
    varying = varying_quantities(heldout)
    if not varying:
        return {}
    probe_values, test_values = (
        np.concatenate([pair[side] for pair in varying.values()], 1) for side in (0, 1)
    )
    scale = probe_values.std(0)  # all quantities have the same weight in the choice of the ridge strength
    num_steps = len(heldout.probe.valid)
    sizes = [n for n in PROBE_SIZES if n <= num_steps]
    sizes += [num_steps] if num_steps < PROBE_SIZES[-1] else []
    return {
        str(n): _probes_of_size(heldout, n, probe_values / scale, test_values / scale, varying) for n in sizes
    }


def _probes_of_size(
    heldout: HeldOutData, size: int, probe_values: np.ndarray, test_values: np.ndarray, varying: Quantities
) -> dict[str, Any]:
    probe_z, test_z = heldout.standardized_z
    steps = subsample(np.arange(len(probe_z)), size, heldout.seed, "probes", size)
    groups, random = heldout.probe.episode[steps], generator(heldout.seed, "probes", "features")
    linear = fit_ridge(probe_z[steps], probe_values[steps], groups)
    features = fit_random_features(probe_z[steps], probe_values[steps], groups, random, _NUM_FEATURES)
    scores = {"linear": r2(test_values, linear(test_z)), "random_features": r2(test_values, features(test_z))}
    ends = np.cumsum([pair[1].shape[1] for pair in varying.values()])[:-1]
    by_name = {
        name: {kind: max(float(np.nanmean(part)), 0.0) for kind, part in zip(scores, parts)}
        for name, *parts in zip(varying, *(np.split(score, ends) for score in scores.values()))
    }
    means = {kind: float(np.mean([entry[kind] for entry in by_name.values()])) for kind in scores}
    return {**means, "quantities": by_name}


def quantities(heldout: HeldOutData) -> Quantities:
    """Return the quantities to probe: the privileged state if the stream has it, else the observed values."""
    if heldout.probe.state:
        return {name: (heldout.probe.state[name], heldout.test.state[name]) for name in heldout.probe.state}
    return {
        name: (heldout.probe.values[:, [i]], heldout.test.values[:, [i]])
        for i, name in enumerate(heldout.probe.names)
        if heldout.varies[i]
    }


def varying_quantities(heldout: HeldOutData) -> Quantities:
    """Return `quantities` without dimensions whose variance on probe or test is numerically zero."""
    varying = {}
    for name, (on_probe, on_test) in quantities(heldout).items():
        varies = ~np.isnan(r2(on_probe, on_probe)) & ~np.isnan(r2(on_test, on_test))
        if varies.any():
            varying[name] = on_probe[:, varies], on_test[:, varies]
    return varying


def _linear_probe(
    heldout: HeldOutData, probe_values: np.ndarray, test_values: np.ndarray
) -> dict[str, Any] | None:
    """Return the scores of one quantity; None if it is constant on test."""
    groups = heldout.probe.episode
    scores = r2(test_values, fit_ridge(heldout.probe_z, probe_values, groups)(heldout.test_z))
    if np.isnan(scores).all():
        return None
    raw = r2(test_values, fit_ridge(heldout.probe.values, probe_values, groups)(heldout.test.values))
    return {
        "r2": float(np.nanmin(scores)),
        "mean": float(np.nanmean(scores)),
        "observation": float(np.nanmin(raw)),
        "delta": _change_r2(heldout, probe_values, test_values),
        "dimensions": int((~np.isnan(scores)).sum()),
    }


def _change_r2(heldout: HeldOutData, probe_values: np.ndarray, test_values: np.ndarray) -> float:
    """Return R2 of the one-step change of the worst dimension; 0 if nothing changes."""
    probe_starts, test_starts = heldout.probe.starts(1), heldout.test.starts(1)
    linear = fit_ridge(
        _changes(heldout.probe_z, probe_starts),
        _changes(probe_values, probe_starts),
        heldout.probe.episode[probe_starts],
        intercept=False,
    )
    scores = r2(_changes(test_values, test_starts), linear(_changes(heldout.test_z, test_starts)))
    return 0.0 if np.isnan(scores).all() else float(np.nanmin(scores))


def _changes(series: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return series[starts + 1] - series[starts]
