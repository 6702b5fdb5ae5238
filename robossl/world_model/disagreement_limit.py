"""How far a model may be believed: the disagreement of its heads where it is known to be right."""

from __future__ import annotations

from typing import Any

import torch

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.model import WorldModel, disagreement

_TRUSTED = 0.99  # share of held-out steps whose disagreement stays below the limit
_WINDOWS = 512


@torch.no_grad()
def disagreement_threshold(model: WorldModel, stream: Any, steps: int, seed: int) -> float:
    """The disagreement that 99 of 100 steps of held-out open loops stay below (of train where none is)."""
    length = steps + bool(model.observations.images)
    random = generator(seed, "dream", "trust")
    try:
        window = stream.windows(_WINDOWS, length, random, split="validation")
    except UsageError:
        window = stream.windows(_WINDOWS, length, random, split="train")
    batch = encode_windows(model, window, torch.Generator())
    z, seen = batch.z[:, 0], []
    for t in range(batch.code.shape[1]):
        fan = model.ensemble_predictions(z, batch.code[:, t])
        seen.append(disagreement(fan)[batch.mask[:, t] > 0])
        z = fan.mean(0)
    return float(torch.cat(seen).quantile(_TRUSTED))
