"""What an objective is: a pure function over a batch, its weight, and the network it may need of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.encoded_batch import EncodedBatch


@dataclass(frozen=True)
class Objective:
    """`loss(batch)` is a scalar of order 1 at its baseline, whatever the env's units."""

    loss: Callable[[EncodedBatch], Tensor]
    weight: float = 1.0
    prevents_collapse: bool = (
        False  # ties latents to what is really seen or done: cannot be met by a constant latent
    )
    images: bool = False  # looks at images: of no use to a model that reads none
    make_head: Callable[[WorldModelConfig, int], nn.Module] | None = (
        None  # (config, action code size) -> model.heads[name]
    )
    detached: bool = False  # shapes its own head only: the rest learns the same without it, to the bit

    def __post_init__(self) -> None:
        """`RequestError` for what stands apart and has nothing to shape."""
        if self.detached and self.make_head is None:
            raise UsageError("an objective that stands apart shapes its own head; give `make_head` as well")
