"""How a forecast is read off latents: each observed number in the way that errs least on the split "probe"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import FARTHEST, HeldOutData, subsample
from robossl.evaluation.latents import decoding, imagine
from robossl.evaluation.metrics.ridge import Ridge, fit_ridge

GAPS = (1, 5, 10, 25)  # [steps] over which changes are read
Decoded = Callable[[np.ndarray], np.ndarray]  # z (N, Z) -> (N, D') normalised: what the model expects to see
_READ = 5000  # changes over each gap that the readout is fitted on, at most


@dataclass(frozen=True)
class Readout:
    """From the observation at the start and a path of latents to the observations on the way, D' normalised numbers."""

    line: Ridge  # from a change of z to the change of the observation
    decoded: Decoded | None
    ways: np.ndarray  # (D',) int: which of `_ways` reads a number

    def __call__(self, start: np.ndarray, path: np.ndarray) -> np.ndarray:
        """Forecasts (B, T, D') for starts (B, D') and latents (B, T + 1, Z), the first of them that of the start."""
        ways = np.stack(_ways(self.line, self.decoded, start, path))
        return np.take_along_axis(ways, self.ways[None, None, None], 0)[0]


def _ways(line: Ridge, decoded: Decoded | None, start: np.ndarray, path: np.ndarray) -> list[np.ndarray]:
    """Forecasts (B, T, D'): by the line; as decoded; moved from the start by as much as what is decoded moves."""
    forecasts = [start[:, None] + line(path[:, 1:] - path[:, :1])]
    if decoded is not None:
        seen = decoded(path.reshape(-1, path.shape[-1])).reshape(*path.shape[:2], -1)
        forecasts += [seen[:, 1:], start[:, None] + (seen[:, 1:] - seen[:, :1])]
    return [np.clip(forecast, -FARTHEST, FARTHEST) for forecast in forecasts]


def fit_readout(model: Any, held: HeldOutData) -> Readout:
    """Fitted and chosen on "probe". The line is fitted on real encodings, shrunk as is best for imagined ones.

    Changes over each gap are weighted by one over their size, so that small ones count as much as large.
    """
    probe, z = held.probe, held.probe_z
    observed = held.normalised(probe.numbers)
    numbers = decoding(model, held.space)
    decoded = None if numbers is None else lambda z: held.normalised(numbers(z))
    inputs, imagined, outputs, groups, asked = [], [], [], [], []
    for gap in GAPS:
        starts = subsample(probe.pairs(gap), _READ, held.seed, "readout", gap)
        if len(starts) == 0:
            continue
        before, after = observed[starts], observed[starts + gap]
        size = np.sqrt(np.mean((after - before) ** 2)) or 1.0
        ends = imagine(model, z[starts], probe.action[starts[:, None] + np.arange(gap)])[:, [0, -1]]
        inputs.append((z[starts + gap] - z[starts]) / size)
        imagined.append((ends[:, 1] - ends[:, 0]) / size)
        outputs.append((after - before) / size)
        groups.append(probe.episode[starts])
        asked.append((before, after, ends, size))
    if not inputs:
        raise UsageError('the split "probe" of this stream has no two rows that follow each other')
    x, used_on, y, group = (np.concatenate(rows) for rows in (inputs, imagined, outputs, groups))
    line = fit_ridge(x, y, group, intercept=False, used_on=used_on)
    errors = np.zeros(1)
    for before, after, ends, size in asked:
        told = np.stack(_ways(line, decoded, before, ends))[:, :, 0]  # (ways, B, D')
        errors = errors + np.sum(((told - after) / size) ** 2, 1)
    return Readout(line, decoded, np.argmin(np.where(np.isnan(errors), np.inf, errors), 0))
