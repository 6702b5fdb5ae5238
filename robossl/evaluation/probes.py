"""What a straight line reads from z: ridge probes of physical truth, fitted on "probe", judged on "test"."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.evaluation.held import Held
from robossl.evaluation.ridge import fit_ridge, r2
from robossl.evaluation.rows import Rows


def probe_r2(held: Held) -> dict[str, dict[str, Any]]:
    """R2 of a linear probe of every privileged quantity ("state.*"), or else of the observed numbers.

    By quantity: {"r2": of its worst dimension, "mean": over its dimensions, "observation": the same worst
    R2 read from the raw observation, "delta": of changes over one step read from changes of z}. A quantity
    that does not vary on "test" is left out; chance is 0, and a probe may do worse than chance.
    """
    return {
        name: row
        for name, (fitted, judged) in quantities(held).items()
        if (row := _probe(held, fitted, judged)) is not None
    }


def quantities(held: Held) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What there is to read: name -> (N, k) on "probe", (M, k) on "test"; truth if the stream has it."""
    if held.probe.truth:
        return {name: (held.probe.truth[name], held.test.truth[name]) for name in held.probe.truth}
    return {
        name: (held.probe.numbers[:, [i]], held.test.numbers[:, [i]])
        for i, name in enumerate(held.probe.names)
        if held.alive[i]
    }


def _probe(held: Held, fitted: np.ndarray, judged: np.ndarray) -> dict[str, Any] | None:
    groups = held.probe.episode
    scores = r2(judged, fit_ridge(held.probe_z, fitted, groups)(held.test_z))
    if np.isnan(scores).all():
        return None
    raw = r2(judged, fit_ridge(held.probe.numbers, fitted, groups)(held.test.numbers))
    return {
        "r2": float(np.nanmin(scores)),
        "mean": float(np.nanmean(scores)),
        "observation": float(np.nanmin(raw)),
        "delta": _delta(held, fitted, judged),
        "dimensions": int((~np.isnan(scores)).sum()),
    }


def _delta(held: Held, fitted: np.ndarray, judged: np.ndarray) -> float:
    """R2 of the change over one step, worst dimension; nan becomes 0: nothing changes."""
    before, after = held.probe.pairs(1), held.test.pairs(1)
    line = fit_ridge(
        _change(held.probe_z, before), _change(fitted, before), _episodes(held.probe, before), intercept=False
    )
    scores = r2(_change(judged, after), line(_change(held.test_z, after)))
    return 0.0 if np.isnan(scores).all() else float(np.nanmin(scores))


def _change(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return values[starts + 1] - values[starts]


def _episodes(rows: Rows, starts: np.ndarray) -> np.ndarray:
    return rows.episode[starts]
