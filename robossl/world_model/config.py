"""Configuration of a world model: sizes, objectives and optimizer settings, stored in the model's folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import is_image, model_inputs

ENCODER_KINDS = ("network", "normalized", "pca", "scrambled", "noise")
ALL = "all"  # value of `encoder_objectives`
MIN_IMAGE_SIZE = 44  # [pixels] the smallest image whose output is not empty after three convolutions


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes, objectives and optimizer settings of a world model.

    An entry of `objectives` is a name, or `name:weight` to replace the objective's default weight (`inverse:2`).

    Example:
        config = robossl.WorldModelConfig(latent_dim=32, objectives=("forward", "inverse:2"))
        model = robossl.pretrain("streams/reacher", config=config, out="models/small")
    """

    latent_dim: int = 64  # size Z of a latent; up to about 4 times the observation size, at most 256
    encoder_hidden: tuple[int, ...] = (256, 256)  # hidden layer widths of the encoder
    dynamics_hidden: tuple[int, ...] = (256, 256)  # hidden layer widths of each head of the forward dynamics
    inverse_hidden: tuple[int, ...] = (256, 256)  # hidden layer widths of the inverse dynamics
    decoder_hidden: tuple[int, ...] = (256,)  # hidden layer widths of the decoder
    linear_skip: bool = True  # add a linear map of the input to the output of each network
    ensemble_size: int = 5  # heads of the dynamics; each head learns from its own part of every batch
    image_size: int = 64  # [pixels] images are resized to image_size x image_size
    random_shift: int = 0  # [pixels of the resized image] largest shift of the images of a training window
    # losses, each a name or name:weight; see docs/world-model.md
    objectives: tuple[str, ...] = ("forward", "inverse", "reconstruction", "error_prediction")
    unroll_steps: int = 5  # length of the open-loop predictions in training
    batch_size: int = 256  # windows in one gradient step
    learning_rate: float = 1e-3  # learning rate of AdamW
    weight_decay: float = 1e-5  # weight decay of AdamW
    max_grad_norm: float = 1.0  # gradient clipping; each detached head is clipped by its own norm
    # network; or a fixed one: normalized (the observation itself), pca, scrambled (it in a random basis), noise
    encoder: str = "network"
    encoder_objectives: tuple[str, ...] = (ALL,)  # whose gradients train the encoder; none: it is not trained
    shuffle_time: bool = (
        False  # train on windows whose time steps are of different windows; a negative control
    )

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: A value is outside its valid range.
        """
        for name in ("latent_dim", "ensemble_size", "image_size", "unroll_steps", "batch_size"):
            _check_positive(name, getattr(self, name), int)
        if self.image_size < MIN_IMAGE_SIZE:
            raise UsageError(
                f"world_model.image_size: expected {MIN_IMAGE_SIZE} pixels or more, got {self.image_size}"
            )
        largest_shift = self.image_size // 2 - 1
        if type(self.random_shift) is not int or not 0 <= self.random_shift <= largest_shift:
            raise UsageError(
                f"world_model.random_shift: expected 0 to {largest_shift} pixels (less than half an image), "
                f"got {self.random_shift!r}"
            )
        for name in ("learning_rate", "max_grad_norm"):
            _check_positive(name, getattr(self, name), float)
        for name in ("linear_skip", "shuffle_time"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"world_model.{name}: expected True or False, got {getattr(self, name)!r}")
        if self.encoder not in ENCODER_KINDS:
            raise unknown_name_error("world_model.encoder", self.encoder, ENCODER_KINDS)
        if self.weight_decay < 0:
            raise UsageError(f"world_model.weight_decay: expected 0 or more, got {self.weight_decay}")
        for name in ("encoder_hidden", "dynamics_hidden", "inverse_hidden", "decoder_hidden"):
            for width in getattr(self, name):
                _check_positive(name, width, int)
        for name in ("encoder_hidden", "dynamics_hidden"):
            if not getattr(self, name):
                raise UsageError(f"world_model.{name}: expected at least one hidden layer width, got none")
        if self.batch_size < self.ensemble_size:
            raise UsageError(
                f"world_model.batch_size: expected at least one window for each of the {self.ensemble_size} "
                f"ensemble heads, got {self.batch_size}"
            )
        if not self.objectives:
            raise UsageError("world_model.objectives: expected at least one objective, got none")
        weights = self.weights()
        for name in self.encoder_objectives:
            if name not in (ALL, *weights):
                raise unknown_name_error("entry of world_model.encoder_objectives", name, (ALL, *weights))

    def trains_encoder(self, objective: str) -> bool:
        """Return whether the gradients of an objective train the encoder."""
        return self.encoder == "network" and bool({ALL, objective} & set(self.encoder_objectives))

    def weights(self) -> dict[str, float | None]:
        """Return the objectives by name with their weights; None means the objective's default weight."""
        weights: dict[str, float | None] = {}
        for entry in self.objectives:
            name, colon, weight = entry.partition(":")
            if name in weights:
                raise UsageError(f"world_model.objectives: objective {name!r} is listed twice; list it once")
            try:
                weights[name] = float(weight) if colon else None
            except ValueError:
                raise UsageError(
                    f"world_model.objectives: expected name:number, got {entry!r}; write for example {name}:2"
                ) from None
        return weights

    def to_json(self) -> dict[str, Any]:
        """Return the config as a dict that JSON can store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> WorldModelConfig:
        """Return the config that `to_json` stored; an unknown key raises UsageError with the known keys."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in value:
            if name not in known:
                raise unknown_name_error("world model setting", name, known)
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**settings)


def _check_positive(name: str, value: Any, kind: type) -> None:
    number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not number or isinstance(value, bool) or not value > 0:
        raise UsageError(f"world_model.{name}: expected a positive {kind.__name__}, got {value!r}")


PIXEL_CONFIG = WorldModelConfig(  # preset for image observations on a few CPU cores
    batch_size=64,
    unroll_steps=4,
    linear_skip=False,  # with linear skips z holds motion and hardly any position
    objectives=("forward", "inverse:10", "image_reconstruction:10", "error_prediction"),
)


def default_config_for(observation_space: spaces.Space) -> WorldModelConfig:
    """Return the default config: `PIXEL_CONFIG` if all inputs of the model are images."""
    images = all(is_image(leaf) for leaf in model_inputs(observation_space).values())
    return PIXEL_CONFIG if images else WorldModelConfig()
