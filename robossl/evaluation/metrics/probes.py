"""What z tells: probes of physical truth, straight lines and small networks, fitted on "probe", judged on "test"."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.seeding import generator
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.metrics.ridge import fit_random_features, fit_ridge, r2
from robossl.evaluation.split_data import SplitData

SAMPLES = (100, 1_000, 10_000)  # rows that a probe may be fitted on
_FEATURES = 512  # hidden units of the small network


def probe_r2(held: HeldOutData) -> dict[str, dict[str, Any]]:
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


def probe_curve(held: HeldOutData) -> dict[str, dict[str, Any]]:
    """How much is read from z after so many labelled rows: what little labelling is worth, and what a line misses.

    By number of rows (the last entry has all there are, where `SAMPLES` asks for more): {"line" | "network": mean R2
    over the quantities, "quantities": {name: {"line", "network"}}}. A quantity counts with its mean over dimensions,
    and as 0 where it is worse than the mean of the truth.
    """
    read = varying(held)
    if not read:
        return {}
    fitted, judged = (np.concatenate([pair[side] for pair in read.values()], 1) for side in (0, 1))
    scale = fitted.std(0)  # all weigh alike where the strength of the ridge is chosen
    there = len(held.probe.valid)
    sizes = [n for n in SAMPLES if n <= there]
    sizes += [there] if there < SAMPLES[-1] else []
    return {str(n): _after(held, n, fitted / scale, judged / scale, read) for n in sizes}


def _after(
    held: HeldOutData, count: int, fitted: np.ndarray, judged: np.ndarray, read: dict[str, Any]
) -> Any:
    z, asked = held.centred
    rows = subsample(np.arange(len(z)), count, held.seed, "probes", count)
    groups, random = held.probe.episode[rows], generator(held.seed, "probes", "features")
    scores = {
        "line": r2(judged, fit_ridge(z[rows], fitted[rows], groups)(asked)),
        "network": r2(judged, fit_random_features(z[rows], fitted[rows], groups, random, _FEATURES)(asked)),
    }
    ends = np.cumsum([pair[1].shape[1] for pair in read.values()])[:-1]
    by_name = {
        name: {kind: max(float(np.nanmean(part)), 0.0) for kind, part in zip(scores, parts)}
        for name, *parts in zip(read, *(np.split(score, ends) for score in scores.values()))
    }
    means = {kind: float(np.mean([row[kind] for row in by_name.values()])) for kind in scores}
    return {**means, "quantities": by_name}


def quantities(held: HeldOutData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What there is to read: name -> (N, k) on "probe", (M, k) on "test"; truth if the stream has it."""
    if held.probe.truth:
        return {name: (held.probe.truth[name], held.test.truth[name]) for name in held.probe.truth}
    return {
        name: (held.probe.numbers[:, [i]], held.test.numbers[:, [i]])
        for i, name in enumerate(held.probe.names)
        if held.alive[i]
    }


def varying(held: HeldOutData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of `quantities` the dimensions that vary on "probe" and on "test": what only trembles is nothing to read."""
    found = {}
    for name, (fitted, judged) in quantities(held).items():
        alive = ~np.isnan(r2(fitted, fitted)) & ~np.isnan(r2(judged, judged))
        if alive.any():
            found[name] = fitted[:, alive], judged[:, alive]
    return found


def _probe(held: HeldOutData, fitted: np.ndarray, judged: np.ndarray) -> dict[str, Any] | None:
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


def _delta(held: HeldOutData, fitted: np.ndarray, judged: np.ndarray) -> float:
    """R2 of the change over one step, worst dimension; nan becomes 0: nothing changes."""
    before, after = held.probe.pairs(1), held.test.pairs(1)
    line = fit_ridge(
        _change(held.probe_z, before), _change(fitted, before), _episodes(held.probe, before), intercept=False
    )
    scores = r2(_change(judged, after), line(_change(held.test_z, after)))
    return 0.0 if np.isnan(scores).all() else float(np.nanmin(scores))


def _change(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return values[starts + 1] - values[starts]


def _episodes(rows: SplitData, starts: np.ndarray) -> np.ndarray:
    return rows.episode[starts]
