"""What a world model is made of and how it learns; everything here is written into the model's folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import is_image, model_inputs

SMALLEST_IMAGE = 44  # [pixels] that three convolutions leave something of


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes, objectives and optimiser of a world model.

    An objective is a name, or `name:weight` to weigh it differently from its own default
    (`inverse:2`); the names are looked up by `robossl.world_model.objectives.objective`.
    """

    latent: int = 64  # Z, up to about 4x the observation, at most 256
    encoder: tuple[int, ...] = (256, 256)  # hidden widths
    predictor: tuple[int, ...] = (256, 256)  # of each head
    inverse: tuple[int, ...] = (256, 256)
    decoder: tuple[int, ...] = (256,)
    straight: bool = True  # each network also adds a linear map of its input
    ensemble: int = 5  # heads of the predictor, each learning from its own share of every batch
    image: int = 64  # [pixels] images are resized to this edge
    shift: int = 0  # [pixels of that] each window's images move at random while learning, at most
    objectives: tuple[str, ...] = ("forward", "inverse", "observation", "error")
    rollout: int = 5  # [steps] predictions fed back while learning
    batch: int = 256  # windows an update
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    clip: float = 1.0  # largest norm of the gradient; what stands apart has a norm of its own

    def __post_init__(self) -> None:
        """`RequestError` for a value no model can be made of."""
        for name in ("latent", "ensemble", "image", "rollout", "batch"):
            _positive(name, getattr(self, name), int)
        if self.image < SMALLEST_IMAGE:
            raise UsageError(f"world.image is {self.image}; expected at least {SMALLEST_IMAGE} pixels")
        if (
            isinstance(self.shift, bool)
            or not isinstance(self.shift, int)
            or not 0 <= self.shift < self.image // 2
        ):
            raise UsageError(
                f"world.shift is {self.shift!r}; expected 0 to {self.image // 2 - 1} pixels, less than half an image"
            )
        for name in ("learning_rate", "clip"):
            _positive(name, getattr(self, name), float)
        if not isinstance(self.straight, bool):
            raise UsageError(f"world.straight is {self.straight!r}; expected True or False")
        if self.weight_decay < 0:
            raise UsageError(f"world.weight_decay is {self.weight_decay}; expected 0 or more")
        for name in ("encoder", "predictor", "inverse", "decoder"):
            for width in getattr(self, name):
                _positive(f"{name} width", width, int)
        if not self.encoder or not self.predictor:
            raise UsageError("world.encoder and world.predictor need at least one hidden layer")
        if self.batch < self.ensemble:
            raise UsageError(
                f"world.batch is {self.batch}; each of the {self.ensemble} heads needs a window of its own"
            )
        if not self.objectives:
            raise UsageError("world.objectives is empty; a world model needs something to learn")
        self.weights()

    def weights(self) -> dict[str, float | None]:
        """The objectives asked for, with the weight asked for (None: the objective's own)."""
        found: dict[str, float | None] = {}
        for entry in self.objectives:
            name, colon, weight = entry.partition(":")
            if name in found:
                raise UsageError(f"objective {name!r} is named twice in world.objectives")
            try:
                found[name] = float(weight) if colon else None
            except ValueError:
                raise UsageError(f"objective {entry!r}: {weight!r} is no weight; expected a number") from None
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> WorldModelConfig:
        """The inverse of `to_json`; an unknown key is answered with the known ones."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in value:
            if name not in known:
                raise unknown_name_error("world setting", name, known)
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**settings)


def _positive(name: str, value: Any, kind: type) -> None:
    number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not number or isinstance(value, bool) or not value > 0:
        raise UsageError(f"world.{name} is {value!r}; expected a positive {kind.__name__}")


PIXEL_CONFIG = WorldModelConfig(  # the recipe for images on a few CPU cores
    batch=64,
    rollout=4,
    straight=False,  # with lines, motion drowns place
    objectives=("forward", "inverse:10", "picture:10", "error"),
)


def default_config_for(observation_space: spaces.Space) -> WorldModelConfig:
    """What to learn with where nothing else was asked for: `PIXELS` where images are all there is to read."""
    images = all(is_image(leaf) for leaf in model_inputs(observation_space).values())
    return PIXEL_CONFIG if images else WorldModelConfig()
