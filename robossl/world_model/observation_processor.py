"""Observations as the networks see them: vectors normalised with statistics of train, images as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.core.spaces import is_goal_space, is_image, model_inputs, unflatten_by_path
from robossl.world_model.array_types import tensor

_FARTHEST = 10.0  # [standard deviations] beyond which a value says no more


class ObservationProcessor(nn.Module):
    """Raw observations -> normalised vector [..., D] and images; and the vector back to an observation.

    Statistics (`mean`, `scale`, `change`) are buffers: they travel in the model's file.
    """

    mean: Tensor  # [D]
    scale: Tensor  # [D] standard deviation; 1 where an observation never changes
    delta_std: Tensor  # [D] root mean square of one step's change, in units of `scale`

    def __init__(self, space: spaces.Space) -> None:
        super().__init__()
        self.space = space
        found = model_inputs(space)
        self.images = {path: leaf.shape or () for path, leaf in found.items() if is_image(leaf)}
        self.vectors = {path: leaf for path, leaf in found.items() if path not in self.images}
        self.sizes = {path: _size(leaf) for path, leaf in self.vectors.items()}
        self.size = sum(self.sizes.values())  # D
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))
        self.register_buffer("delta_std", torch.ones(self.size))

    def parts(self, observation: Any) -> dict[str, Any]:
        """The leaves a model reads, by path; a goal env's observation may come alone, without the goals."""
        return {path: self._part(observation, path) for path in (*self.vectors, *self.images)}

    def _part(self, observation: Any, path: str) -> Any:
        if isinstance(observation, dict) and path in observation:
            return observation[path]
        steps = path.split(".") if path else []
        if is_goal_space(self.space) and not (isinstance(observation, dict) and "observation" in observation):
            steps = steps[1:]
        value = observation
        for step in steps:
            try:
                value = value[int(step) if isinstance(value, (tuple, list)) else step]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self._lacks(path) from None
        if isinstance(value, dict):
            raise self._lacks(path)
        return value

    def _lacks(self, path: str) -> UsageError:
        known = ", ".join(repr(path) for path in (*self.vectors, *self.images))
        return UsageError(f"no {path!r} in the observation; this model reads {known}")

    def vector(self, parts: dict[str, Any]) -> Tensor:
        """Normalised vector [..., D] of the vector leaves."""
        flat = [self._flat(path, parts[path]) for path in self.vectors]
        return ((torch.cat(flat, -1) - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST)

    def raw(self, parts: dict[str, Any]) -> Tensor:
        """The vector leaves side by side [..., D], not normalised."""
        return torch.cat([self._flat(path, parts[path]) for path in self.vectors], -1)

    def _flat(self, path: str, value: Any) -> Tensor:
        leaf = self.vectors[path]
        given = tensor(value, self.mean.device)
        rank = len(leaf.shape or ())
        expected = tuple(leaf.shape or ())
        if tuple(given.shape[given.ndim - rank :]) != expected:
            raise UsageError(
                f"observation {path!r} has shape {tuple(given.shape)}; expected (..., *{expected})"
            )
        lead = given.shape[: given.ndim - rank]
        if isinstance(leaf, spaces.Discrete):
            return F.one_hot(given.long() - int(leaf.start), int(leaf.n)).float()
        if isinstance(leaf, spaces.MultiDiscrete):
            digits = given.long().reshape(*lead, -1)
            return torch.cat(
                [F.one_hot(digits[..., i], int(n)).float() for i, n in enumerate(leaf.nvec.reshape(-1))], -1
            )
        return given.float().reshape(*lead, self.sizes[path])

    def image(self, path: str, value: Any) -> Tensor:
        """An image leaf as uint8 [..., H, W, C] on the model's device."""
        given = tensor(value, self.mean.device)
        if tuple(given.shape[-3:]) != self.images[path]:
            raise UsageError(
                f"image {path!r} has shape {tuple(given.shape)}; expected (..., *{self.images[path]})"
            )
        return given

    def restore(self, vector: Tensor) -> Any:
        """The observation (its vector leaves) that a normalised vector [..., D] stands for."""
        pieces = torch.split(vector * self.scale + self.mean, list(self.sizes.values()), -1)
        values = {path: self._value(path, piece) for path, piece in zip(self.vectors, pieces)}
        if is_goal_space(self.space) and isinstance(self.space, spaces.Dict):
            inside = {
                path.partition(".")[2]: v for path, v in values.items() if path.split(".")[0] == "observation"
            }
            return unflatten_by_path(self.decoded_space, inside)
        return unflatten_by_path(self.decoded_space, values)

    @property
    def decoded_space(self) -> spaces.Space:
        """The space of what `restore` gives: the observation space without images, goals and clocks."""
        if is_goal_space(self.space) and isinstance(self.space, spaces.Dict):
            return _without(self.space["observation"], set(self.images), "observation.")
        return _without(self.space, set(self.images), "")

    def _value(self, path: str, piece: Tensor) -> Tensor:
        leaf = self.vectors[path]
        if isinstance(leaf, spaces.Discrete):
            return piece.argmax(-1) + int(leaf.start)
        if isinstance(leaf, spaces.MultiDiscrete):
            digits = [p.argmax(-1) for p in torch.split(piece, [int(n) for n in leaf.nvec.reshape(-1)], -1)]
            return torch.stack(digits, -1).reshape(*piece.shape[:-1], *leaf.shape)
        shaped = piece.reshape(*piece.shape[:-1], *(leaf.shape or ()))
        if isinstance(leaf, spaces.MultiBinary):
            return (shaped > 0.5).to(torch.int8)
        return shaped


def _size(leaf: spaces.Space) -> int:
    if isinstance(leaf, spaces.Discrete):
        return int(leaf.n)
    if isinstance(leaf, spaces.MultiDiscrete):
        return int(np.sum(leaf.nvec))
    return int(np.prod(leaf.shape or (), dtype=int))


def _without(space: spaces.Space, images: set[str], path: str) -> spaces.Space:
    """`space` without its image leaves."""
    if isinstance(space, spaces.Dict):
        kept = {
            key: _without(inner, images, f"{path}{key}.")
            for key, inner in space.spaces.items()
            if f"{path}{key}" not in images
        }
        return spaces.Dict(kept)
    return space


def is_one_hot(leaf: spaces.Space) -> bool:
    """Leaves whose coding is 0 or 1 already and is not normalised."""
    return isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
