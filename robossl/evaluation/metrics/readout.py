"""Readout of observed values from latents: for each value, the method with the least error on the probe split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import MAX_DEVIATION, HeldOutData, subsample
from robossl.evaluation.latents import imagine, make_decoder
from robossl.evaluation.metrics.ridge import Ridge, fit_ridge
from robossl.world_model import WorldModel

GAPS = (1, 5, 10, 25)  # [steps] over which changes are fitted
Decoder = Callable[[np.ndarray], np.ndarray]  # z (N, Z) -> normalized values (N, D')
_MAX_CHANGES = 5000  # changes over each gap that the readout is fitted on


@dataclass(frozen=True)
class Readout:
    """Map the observation at the start and the latents of T + 1 steps to D' normalized values of each later step."""

    linear: Ridge  # change of z -> change of the observation
    decoder: Decoder | None
    method: np.ndarray  # (D',) int: index into `_forecasts` for each value

    def __call__(self, start: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Return forecasts (B, T, D') for starts (B, D') and latents (B, T + 1, Z) that begin at the start."""
        forecasts = np.stack(_forecasts(self.linear, self.decoder, start, latents))
        return np.take_along_axis(forecasts, self.method[None, None, None], 0)[0]


def _forecasts(
    linear: Ridge, decoder: Decoder | None, start: np.ndarray, latents: np.ndarray
) -> list[np.ndarray]:
    """Return forecasts (B, T, D') by each method.

    The methods are: the start plus a linear map of the change of z; the decoded value; the start plus the change of
    the decoded value.
    """
    forecasts = [start[:, None] + linear(latents[:, 1:] - latents[:, :1])]
    if decoder is not None:
        decoded = decoder(latents.reshape(-1, latents.shape[-1])).reshape(*latents.shape[:2], -1)
        forecasts += [decoded[:, 1:], start[:, None] + (decoded[:, 1:] - decoded[:, :1])]
    return [np.clip(forecast, -MAX_DEVIATION, MAX_DEVIATION) for forecast in forecasts]


def fit_readout(model: WorldModel, heldout: HeldOutData) -> Readout:
    """Fit and choose the readout on probe.

    The linear map is fitted on changes between real encodings; its ridge strength is the best one for imagined
    latents. Changes over each gap are divided by their size, so that all gaps have the same weight.

    Raises:
        UsageError: The probe split has no two successive time steps.
    """
    probe, z = heldout.probe, heldout.probe_z
    observed = heldout.normalize(probe.values)
    decode = make_decoder(model, heldout.observation_space)
    decoder = None if decode is None else lambda z: heldout.normalize(decode(z))
    inputs, imagined, targets, groups, windows = [], [], [], [], []
    for gap in GAPS:
        starts = subsample(probe.starts(gap), _MAX_CHANGES, heldout.seed, "readout", gap)
        if len(starts) == 0:
            continue
        before, after = observed[starts], observed[starts + gap]
        size = np.sqrt(np.mean((after - before) ** 2)) or 1.0
        ends = imagine(model, z[starts], probe.action[starts[:, None] + np.arange(gap)])[:, [0, -1]]
        inputs.append((z[starts + gap] - z[starts]) / size)
        imagined.append((ends[:, 1] - ends[:, 0]) / size)
        targets.append((after - before) / size)
        groups.append(probe.episode[starts])
        windows.append((before, after, ends, size))
    if not inputs:
        raise UsageError('the split "probe" of this stream has no two successive time steps')
    x, x_imagined, y, group = (np.concatenate(parts) for parts in (inputs, imagined, targets, groups))
    linear = fit_ridge(x, y, group, intercept=False, validation_x=x_imagined)
    errors = np.zeros(1)
    for before, after, ends, size in windows:
        forecasts = np.stack(_forecasts(linear, decoder, before, ends))[:, :, 0]  # (methods, B, D')
        errors = errors + np.sum(((forecasts - after) / size) ** 2, 1)
    return Readout(linear, decoder, np.argmin(np.where(np.isnan(errors), np.inf, errors), 0))
