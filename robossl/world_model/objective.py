"""The definition of an objective: a loss function of a batch, its weight, and an optional head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch


@dataclass(frozen=True)
class Objective:
    """A training objective of the world model.

    Args:
        loss: Pure function of a batch. It returns a scalar of about 1 at the constant baseline, in any env.
        weight: Default weight in the sum of the losses.
        prevents_collapse: Whether a constant encoder cannot minimize the loss.
        images: Whether the loss uses images; the model must then have image observations.
        make_head: Creates the network `model.heads[name]` from the config and the encoded action dimension A.
        detached: Whether the loss trains its own head only. Other weights are bit-identical without the objective.
    """

    loss: Callable[[EncodedBatch], Tensor]
    weight: float = 1.0
    prevents_collapse: bool = False
    images: bool = False
    make_head: Callable[[WorldModelConfig, int], nn.Module] | None = None
    detached: bool = False

    def __post_init__(self) -> None:
        if self.detached and self.make_head is None:
            raise UsageError(
                "expected `make_head` for a detached objective, got None; a detached loss trains its head"
            )
