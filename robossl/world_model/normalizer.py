"""Statistics of the train split that the model's inputs are scaled by."""

from __future__ import annotations

from typing import Any

import torch

from robossl.core.seeding import generator
from robossl.world_model.observation_processor import ObservationProcessor, is_one_hot

_ROWS = 65_536  # transitions looked at; 4,096 where there are images to carry along
_BATCH = 1_024
_STILL = 1e-6  # relative spread below which an observation counts as constant


def fit_normalizer(coder: ObservationProcessor, stream: Any, seed: int) -> None:
    """Fit the statistics of `coder` to valid transitions of the train split of `stream`, drawn by `seed`."""
    if not coder.vectors:
        return
    random = generator(seed, "world", "normaliser")
    pieces = []
    rows = 4_096 if coder.images else min(_ROWS, 4 * int(stream.transitions))
    for _ in range(max(1, rows // _BATCH)):
        window = stream.windows(_BATCH, 1, random, split="train")
        pieces.append(coder.raw(coder.parts(window.observation)).cpu().double())  # [B, 2, D]
    raw = torch.cat(pieces)  # [N, 2, D]
    mean, spread = raw.mean((0, 1)), raw.std((0, 1), correction=0)
    scale = torch.where(spread > _STILL * (1 + mean.abs()), spread, torch.ones_like(spread))
    offset = 0
    for path, leaf in coder.vectors.items():  # one-hot codes stay as they are
        end = offset + coder.sizes[path]
        if is_one_hot(leaf):
            mean[offset:end], scale[offset:end] = 0.0, 1.0
        offset = end
    change = ((raw[:, 1] - raw[:, 0]) / scale).square().mean(0).sqrt()
    coder.mean.copy_(mean)
    coder.scale.copy_(scale)
    coder.delta_std.copy_(torch.where(change > 1e-4, change, torch.ones_like(change)))
