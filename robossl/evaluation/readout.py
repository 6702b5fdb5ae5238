"""How a forecast is read off a latent: the linear map from changes of z to changes of what is observed."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import RequestError
from robossl.evaluation.held import Held, draw
from robossl.evaluation.latents import imagine
from robossl.evaluation.ridge import Ridge, fit_ridge

GAPS = (1, 5, 10, 25)  # [steps] over which changes are read
_READ = 5000  # changes over each gap that the readout is fitted on, at most


def fit_readout(model: Any, held: Held) -> Ridge:
    """The linear map from a change of z (Z,) to the change of the normalised observation (D',), fitted on "probe".

    Fitted on real encodings, shrunk as is best for imagined ones. Changes over each gap are weighted by one over their
    size, so that small ones count as much as large.
    """
    probe, z = held.probe, held.probe_z
    observed = held.normalised(probe)
    inputs, imagined, outputs, groups = [], [], [], []
    for gap in GAPS:
        starts = draw(probe.pairs(gap), _READ, held.seed, "readout", gap)
        if len(starts) == 0:
            continue
        change = observed[starts + gap] - observed[starts]
        size = np.sqrt(np.mean(change**2)) or 1.0
        inputs.append((z[starts + gap] - z[starts]) / size)
        foreseen = imagine(model, z[starts], probe.action[starts[:, None] + np.arange(gap)])
        imagined.append((foreseen[:, -1] - z[starts]) / size)
        outputs.append(change / size)
        groups.append(probe.episode[starts])
    if not inputs:
        raise RequestError('the split "probe" of this stream has no two rows that follow each other')
    x, used_on, y, group = (np.concatenate(rows) for rows in (inputs, imagined, outputs, groups))
    return fit_ridge(x, y, group, intercept=False, used_on=used_on)
