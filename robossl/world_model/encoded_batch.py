"""A batch of windows as the objectives see it: encoded, rolled out once, masked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robossl.world_model.array_types import tensor

if TYPE_CHECKING:
    from robossl.world_model.model import WorldModel

Frames = tuple[Tensor, Tensor]  # pictures, and those of the moment before


@dataclass(frozen=True)
class EncodedBatch:
    """B windows of T steps. Step t leads from row t to row t+1; where `mask` is 0 nothing may be learned."""

    model: WorldModel
    z: Tensor  # [B, T+1, Z]
    vector: Tensor  # [B, T+1, D] normalised vector observation
    code: Tensor  # [B, T, A] actions as the networks see them
    mask: Tensor  # [B, T] 1.0 up to the first step that is not a real transition, 0.0 from there on
    random: torch.Generator  # on the CPU; for objectives that draw
    images: dict[str, Frames] = field(default_factory=dict)  # by path, [B, T+1, H, W, C] uint8 each

    @cached_property
    def rows(self) -> Tensor:
        """[B, T+1] 1.0 for rows that real transitions connect with the first."""
        return torch.cat([torch.ones_like(self.mask[:, :1]), self.mask], 1)

    @cached_property
    def share(self) -> int:
        """Windows each head of the ensemble learns from."""
        return self.z.shape[0] // self.model.dynamics.heads

    @cached_property
    def open_loop(self) -> Tensor:
        """[N, T+1, Z]: from the first row on, each head's predictions fed back to it.

        Each head sees its own share of the windows: N = E * share, and row n belongs to window n.
        """
        predictor = self.model.dynamics
        heads, count, steps = predictor.heads, predictor.heads * self.share, self.code.shape[1]
        code = self.code[:count].reshape(heads, self.share, steps, -1)
        path = [self.z[:count, 0].reshape(heads, self.share, -1)]
        for t in range(steps):
            path.append(predictor(path[-1], code[:, :, t]))
        return torch.stack(path, 2).reshape(count, steps + 1, -1)


def encode_windows(model: WorldModel, window: Any, random: torch.Generator, shift: int = 0) -> EncodedBatch:
    """Encode a stream's window. Where there are images its first row is only the frame before the second.

    With `shift` [pixels of what the model sees] the encoder is shown each window's images moved by up to so much, all
    of them alike; the batch keeps them as they are, so that what is to be seen in them does not move. Objectives that
    look at pictures of their own, covered or turned, see them unmoved.
    """
    parts, coder = model.observations.parts(window.observation), model.observations
    action, mask = window.action, tensor(window.valid, model.device).float().cumprod(1)
    images: dict[str, Frames] = {}
    if coder.images:
        pictures = {path: coder.image(path, parts[path]) for path in coder.images}
        images = {path: (frames[:, 1:], frames[:, :-1]) for path, frames in pictures.items()}
        parts = {path: parts[path][:, 1:] for path in coder.vectors}
        mask, action = mask[:, 1:], action[:, 1:]
    vector = coder.vector(parts) if coder.vectors else None
    z = model.encoder(
        vector, random_shift(images, shift / model.config.image_size, random) if shift and images else images
    )
    if vector is None:
        vector = z.new_zeros(*z.shape[:2], 0)
    return EncodedBatch(model, z, vector, model.actions(action), mask, random, images)


def random_shift(images: dict[str, Frames], most: float, random: torch.Generator) -> dict[str, Frames]:
    """Frames [B, T, H, W, C] moved by up to `most` of an edge, what is beyond it as the edge (DrQ, arXiv 2004.13649).

    All images of a window move alike, each window its own way, by whole pixels.
    """
    count = len(next(iter(images.values()))[0])
    by = torch.rand(2, count, generator=random)  # down and right, from least to most
    return {path: (_moved(now, most, by), _moved(before, most, by)) for path, (now, before) in images.items()}


def _moved(frames: Tensor, most: float, by: Tensor) -> Tensor:
    sizes = frames.shape[2:4]
    reach = [round(most * size) for size in sizes]
    rows, columns = (
        torch.arange(-far, size + far, device=frames.device).clamp(0, size - 1)
        for far, size in zip(reach, sizes)
    )
    wide = frames.index_select(2, rows).index_select(3, columns)
    down, right = ((part * (2 * far + 1)).long().tolist() for part, far in zip(by, reach))
    height, width = sizes
    cut = (window[:, y : y + height, x : x + width] for window, y, x in zip(wide, down, right))
    return torch.stack([*cut])


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of `error` where `mask` (same shape) is 1; everything else gets exactly no gradient."""
    return torch.where(mask > 0, error, torch.zeros_like(error)).sum() / mask.sum().clamp_min(1.0)
