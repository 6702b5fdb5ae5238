"""A batch of windows as the objectives receive it: latents, open-loop predictions and a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from robossl.streams import Window
from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.array_types import to_tensor
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.networks import MLP, DynamicsEnsemble, ImagePair
from robossl.world_model.observation_processor import ObservationProcessor


class ModelNetworks(Protocol):
    """The parts of a world model that objectives use."""

    config: WorldModelConfig
    observation_processor: ObservationProcessor
    action_processor: ActionProcessor
    encoder: nn.Module
    dynamics: DynamicsEnsemble
    inverse: MLP
    decoder: MLP | None
    heads: nn.ModuleDict  # of the objectives, by name

    @property
    def device(self) -> torch.device:
        """The device of the weights."""


@dataclass(frozen=True)
class EncodedBatch:
    """B windows of T steps. Step t leads from observation t to observation t+1.

    Losses must ignore the steps where `mask` is 0.
    """

    model: ModelNetworks
    z: Tensor  # (B, T+1, Z)
    vector: Tensor  # (B, T+1, D) normalized vector observation
    action: Tensor  # (B, T, A) encoded actions
    mask: Tensor  # (B, T) 1 up to the first step that is not a transition of the episode, then 0
    random: torch.Generator  # on the CPU; for objectives that draw random numbers
    images: dict[str, ImagePair] = field(default_factory=dict)  # by path; (B, T+1, H, W, C) uint8 each

    @cached_property
    def observation_mask(self) -> Tensor:
        """(B, T+1) 1 for observations of the episode in which the window starts."""
        return torch.cat([torch.ones_like(self.mask[:, :1]), self.mask], 1)

    @cached_property
    def windows_per_head(self) -> int:
        """Number of windows that train each head of the dynamics."""
        return self.z.shape[0] // self.model.dynamics.num_heads

    @cached_property
    def open_loop(self) -> Tensor:
        """(N, T+1, Z): open-loop predictions from the first latent of each window.

        Each head predicts its own part of the batch: N = E * `windows_per_head`, and entry n belongs to window n.
        """
        dynamics = self.model.dynamics
        heads, count, steps = dynamics.num_heads, self.windows_per_head, self.action.shape[1]
        used = heads * count
        action = self.action[:used].reshape(heads, count, steps, -1)
        latents = [self.z[:used, 0].reshape(heads, count, -1)]
        for t in range(steps):
            latents.append(dynamics(latents[-1], action[:, :, t]))
        return torch.stack(latents, 2).reshape(used, steps + 1, -1)


def encode_windows(
    model: ModelNetworks,
    window: Window,
    random: torch.Generator,
    shift: int = 0,
    shuffle: bool = False,
    encode: Callable[..., Tensor] | None = None,
) -> EncodedBatch:
    """Encode windows of a stream.

    With image observations the first time step only provides the previous images of the second one: the batch has
    one step less than the window.

    Args:
        model: The world model.
        window: Windows of T actions and T+1 observations.
        random: Generator for the random shift and for the objectives.
        shift: Largest random shift [pixels of `image_size`]. The same shift is applied to all images of a window,
            for the encoder only: the batch keeps unshifted images for targets and image objectives.
        shuffle: Exchange the observations of each time step between windows, and the actions as well, so that nothing
            about time can be learned. An image keeps its previous image.
        encode: Called in place of `model.encoder` with the encoder and its arguments.
    """
    processor = model.observation_processor
    leaves = processor.select(window.observation)
    action, mask = window.action, to_tensor(window.valid, model.device).float().cumprod(1)
    images: dict[str, ImagePair] = {}
    if processor.images:
        all_images = {path: processor.image(path, leaves[path]) for path in processor.images}
        images = {path: (image[:, 1:], image[:, :-1]) for path, image in all_images.items()}
        leaves = {path: leaves[path][:, 1:] for path in processor.vectors}
        mask, action = mask[:, 1:], action[:, 1:]
    vector = processor.normalize(leaves) if processor.vectors else None
    encoded = model.action_processor(action)  # (B, T, A)
    if shuffle:
        observed = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        order = _exchange(observed, random)
        images = {path: (order(now), order(before)) for path, (now, before) in images.items()}
        vector = None if vector is None else order(vector)
        encoded = _exchange(mask, random)(encoded)
    shifted = random_shift(images, shift / model.config.image_size, random) if shift and images else images
    z = model.encoder(vector, shifted) if encode is None else encode(model.encoder, vector, shifted)
    if vector is None:
        vector = z.new_zeros(*z.shape[:2], 0)
    return EncodedBatch(model, z, vector, encoded, mask, random, images)


def _exchange(mask: Tensor, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a function that permutes the valid entries of each time step of values (B, T, ...) between windows."""
    order = torch.arange(len(mask))[:, None].repeat(1, mask.shape[1])  # (B, T)
    for column, valid in zip(order.unbind(1), mask.cpu().unbind(1)):
        entries = valid.nonzero()[:, 0]
        column[entries] = entries[torch.randperm(len(entries), generator=random)]
    order = order.to(mask.device)
    steps = torch.arange(mask.shape[1], device=mask.device)
    return lambda values: values[order, steps]


def random_shift(
    images: dict[str, ImagePair], largest: float, random: torch.Generator
) -> dict[str, ImagePair]:
    """Shift images (B, T, H, W, C) by whole pixels and repeat the border (DrQ, arXiv 2004.13649).

    Args:
        images: Images and the images one step earlier, by path.
        largest: Largest shift, as a fraction of the image edge.
        random: Generator of the shifts. Each window has its own shift; its images share it.
    """
    count = len(next(iter(images.values()))[0])
    fractions = torch.rand(2, count, generator=random)  # vertical and horizontal; 0 to 1 over the range
    return {
        path: (_shift(now, largest, fractions), _shift(before, largest, fractions))
        for path, (now, before) in images.items()
    }


def _shift(images: Tensor, largest: float, fractions: Tensor) -> Tensor:
    """Return images (B, T, H, W, C), each window shifted by its fractions (2, B) of the largest shift."""
    height, width = sizes = images.shape[2:4]
    margins = [round(largest * size) for size in sizes]
    rows, columns = (
        torch.arange(-margin, size + margin, device=images.device).clamp(0, size - 1)
        for margin, size in zip(margins, sizes)
    )
    padded = images.index_select(2, rows).index_select(3, columns)
    tops, lefts = (
        (fraction * (2 * margin + 1)).long().tolist() for fraction, margin in zip(fractions, margins)
    )
    return torch.stack(
        [window[:, y : y + height, x : x + width] for window, y, x in zip(padded, tops, lefts)]
    )


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `error` where `mask` (same shape) is 1; masked entries have zero gradient."""
    return torch.where(mask > 0, error, torch.zeros_like(error)).sum() / mask.sum().clamp_min(1.0)
