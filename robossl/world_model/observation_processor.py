"""Observations as network inputs: normalized vectors and unchanged images, and the fit of the normalization."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.encoding import decode, encode, encoded_dim, is_categorical
from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import is_goal_space, is_image, leaf_value, model_inputs, unflatten_by_path
from robossl.streams import Stream
from robossl.world_model.array_types import to_tensor

_CLIP = 10.0  # [standard deviations] normalized values are clipped to this range
_FIT_TRANSITIONS = 65_536  # largest number of transitions of the train split used for the statistics
_FIT_TRANSITIONS_WITH_IMAGES = 4_096  # fewer, because images are read with them
_FIT_BATCH = 1_024
_CONSTANT = 1e-6  # an observation with a smaller relative standard deviation is constant


class ObservationProcessor(nn.Module):
    """Conversion of env observations to a normalized vector (..., D) and images, and of the vector back.

    A leaf is one entry of the observation space, named by its path ("observation.joints"; "" for a plain space).
    The statistics are buffers, so that they are saved with the model.
    """

    mean: Tensor  # (D,)
    scale: Tensor  # (D,) standard deviation; 1 for a constant value
    delta_std: Tensor  # (D,) root mean square of the change in one step, in units of `scale`

    def __init__(self, space: spaces.Space) -> None:
        super().__init__()
        self.space = space
        inputs = model_inputs(space)
        self.images = {path: leaf.shape or () for path, leaf in inputs.items() if is_image(leaf)}
        self.vectors = {path: leaf for path, leaf in inputs.items() if path not in self.images}
        self.dims = {path: encoded_dim(leaf) for path, leaf in self.vectors.items()}
        self.vector_dim = sum(self.dims.values())  # D
        self.register_buffer("mean", torch.zeros(self.vector_dim))
        self.register_buffer("scale", torch.ones(self.vector_dim))
        self.register_buffer("delta_std", torch.ones(self.vector_dim))

    def select(self, observation: Any) -> dict[str, Any]:
        """Return the leaves that the model reads, by path.

        Args:
            observation: A value of the observation space; of a goal env also the value of its key `observation`.
        """
        return {path: self._leaf(observation, path) for path in (*self.vectors, *self.images)}

    def _leaf(self, observation: Any, path: str) -> Any:
        if isinstance(observation, dict) and path in observation:
            return observation[path]
        space, inner_path = self.space, path
        without_goals = is_goal_space(space) and not (
            isinstance(observation, dict) and "observation" in observation
        )
        if without_goals and isinstance(space, spaces.Dict):
            space, inner_path = space["observation"], path.partition(".")[2]
        try:
            value = leaf_value(space, observation, inner_path)
        except (KeyError, IndexError, TypeError, ValueError):
            raise self._missing_leaf(path) from None
        if isinstance(value, dict):
            raise self._missing_leaf(path)
        return value

    def _missing_leaf(self, path: str) -> UsageError:
        known = ", ".join(repr(path) for path in (*self.vectors, *self.images))
        return UsageError(f"observation: expected {known}, got no {path!r}")

    def normalize(self, leaves: dict[str, Any]) -> Tensor:
        """Return the normalized vector (..., D) of the vector leaves."""
        return self.normalize_vector(self.concatenate(leaves))

    def normalize_vector(self, vector: Tensor) -> Tensor:
        """Return a vector (..., D) of encoded leaves, normalized."""
        return ((vector - self.mean) / self.scale).clamp(-_CLIP, _CLIP)

    def concatenate(self, leaves: dict[str, Any]) -> Tensor:
        """Return the encoded vector leaves as one vector (..., D), not normalized."""
        return torch.cat([self._encode(path, leaves[path]) for path in self.vectors], -1)

    def _encode(self, path: str, value: Any) -> Tensor:
        try:
            return encode(self.vectors[path], to_tensor(value, self.mean.device))
        except UsageError as error:
            raise UsageError(f"observation {path!r}: {error}") from None

    def image(self, path: str, value: Any) -> Tensor:
        """Return an image leaf as uint8 (..., H, W, C) on the model's device."""
        image = to_tensor(value, self.mean.device)
        if tuple(image.shape[-3:]) != self.images[path]:
            raise UsageError(
                f"image {path!r}: expected shape (..., *{self.images[path]}), got {tuple(image.shape)}"
            )
        return image

    def to_observation(self, vector: Tensor) -> Any:
        """Return the value of `decoded_space` that a normalized vector (..., D) encodes."""
        pieces = torch.split(vector * self.scale + self.mean, list(self.dims.values()), -1)
        values = {path: decode(leaf, piece) for (path, leaf), piece in zip(self.vectors.items(), pieces)}
        if is_goal_space(self.space) and isinstance(self.space, spaces.Dict):
            values = {
                path.partition(".")[2]: v for path, v in values.items() if path.split(".")[0] == "observation"
            }
        return unflatten_by_path(self.decoded_space, values)

    @property
    def decoded_space(self) -> spaces.Space:
        """The space of decoded observations: without images and, in a goal env, without goals."""
        if is_goal_space(self.space) and isinstance(self.space, spaces.Dict):
            return _without_images(self.space["observation"], set(self.images), "observation.")
        return _without_images(self.space, set(self.images), "")


def fit_normalizer(processor: ObservationProcessor, stream: Stream, seed: int) -> None:
    """Fit the statistics of `processor` to transitions of the train split of `stream`.

    One-hot and binary leaves are not normalized.
    """
    if not processor.vectors:
        return
    random = generator(seed, "world", "normaliser")
    transitions = min(_FIT_TRANSITIONS, 4 * int(stream.transitions))
    if processor.images:
        transitions = _FIT_TRANSITIONS_WITH_IMAGES
    batches = []
    for _ in range(max(1, transitions // _FIT_BATCH)):
        window = stream.windows(_FIT_BATCH, 1, random, split="train")
        batches.append(processor.concatenate(processor.select(window.observation)).cpu().double())
    values = torch.cat(batches)  # (N, 2, D)
    mean, std = values.mean((0, 1)), values.std((0, 1), correction=0)
    scale = torch.where(std > _CONSTANT * (1 + mean.abs()), std, torch.ones_like(std))
    start = 0
    for path, leaf in processor.vectors.items():
        end = start + processor.dims[path]
        if is_categorical(leaf):
            mean[start:end], scale[start:end] = 0.0, 1.0
        start = end
    delta_std = ((values[:, 1] - values[:, 0]) / scale).square().mean(0).sqrt()
    processor.mean.copy_(mean)
    processor.scale.copy_(scale)
    processor.delta_std.copy_(torch.where(delta_std > 1e-4, delta_std, torch.ones_like(delta_std)))


def _without_images(space: spaces.Space, images: set[str], prefix: str) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        inner_spaces = {
            key: _without_images(inner, images, f"{prefix}{key}.")
            for key, inner in space.spaces.items()
            if f"{prefix}{key}" not in images
        }
        return spaces.Dict(inner_spaces)
    return space
