"""Encoder modes of SB3 agents: what the agent observes, and which loss trains the encoder.

| mode | the encoder |
| --- | --- |
| `none` | - |
| `random` | fresh weights, never trained |
| `frozen` | that of the representation, never trained by the agent |
| `finetune` | starts with the weights of the world model, trained by the critic loss |
| `cotrain` | starts with the weights of the world model, trained by the critic loss and the self-supervised loss |
| `scratch` | starts with fresh weights, trained by the critic loss |

`finetune` also has the self-supervised loss, but only on time steps that were recorded before the agent, and only if
there are any; in `cotrain` half of them are new. Images are observed through the latent only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from robossl.core.agent_observation import ENCODERS, TRAINED_ENCODERS, images_only, resolve_observed
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import Representation
from robossl.core.seeding import derive
from robossl.core.spaces import is_image, model_inputs
from robossl.world_model import WorldModel
from robossl.world_model.config import default_config_for
from robossl.world_model.data_validation import check_spaces_match

from .features import FeatureBuilder
from .parts import PartExtractor
from .self_supervision import SelfSupervisionSettings
from .trained_encoder import EncoderSchedule, TrainedEncoder

_PRETRAINED = EncoderSchedule(frozen_updates=1000, slow_updates=5000, slow=0.1, fast=0.3)
_SCHEDULES = {"finetune": _PRETRAINED, "cotrain": _PRETRAINED, "scratch": EncoderSchedule()}
_INTERVALS = {"finetune": 4, "cotrain": 2}  # [updates] from one self-supervised update to the next
_SHIFT = 4 / 84  # largest random shift over the edge of the image, as in DrQ


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of an agent about what it observes; None is the default of the encoder mode.

    Attributes:
        observe: latent or latent_observation, what is observed with an encoder (see `resolve_observed`).
        encoder_frozen_updates: First gradient steps in which the critic loss does not change the encoder; 1,000 for
            finetune and cotrain, else 0.
        encoder_slow_updates: Gradient steps with the first of `encoder_lr_factors`; 5,000 for finetune and cotrain.
        encoder_lr_factors: Learning rate of a trained encoder over that of the agent, first and later; 0.1 and 0.3 for
            finetune and cotrain, else 1.
        self_supervised_every: Gradient steps from one self-supervised update to the next; 2 for cotrain, 4 for
            finetune; 0: none.
        self_supervised_lr: Learning rate of the self-supervised loss.
        random_shift: Largest random shift of images in training batches [pixels]; 1/21 of the image for trained
            encoders.
    """

    observe: str | None = None
    encoder_frozen_updates: int | None = None
    encoder_slow_updates: int | None = None
    encoder_lr_factors: Sequence[float] | None = None
    self_supervised_every: int | None = None
    self_supervised_lr: float = 1e-4
    random_shift: int | None = None

    @classmethod
    def split(cls, settings: Mapping[str, Any]) -> tuple[EncoderSettings, dict[str, Any]]:
        """Return the settings of this class, and the others."""
        names = {field.name for field in fields(cls)}
        others = {name: value for name, value in settings.items() if name not in names}
        return cls(**{name: value for name, value in settings.items() if name in names}), others

    def schedule(self, mode: str) -> EncoderSchedule:
        """Return the schedule of the encoder that the critic loss trains."""
        default, factors = _SCHEDULES[mode], self.encoder_lr_factors
        slow, fast = (default.slow, default.fast) if factors is None else tuple(map(float, factors))
        given = {"frozen_updates": self.encoder_frozen_updates, "slow_updates": self.encoder_slow_updates}
        updates = {name: value for name, value in given.items() if value is not None}
        return EncoderSchedule(**{**asdict(default), **updates, "slow": slow, "fast": fast})

    def self_supervision(self, mode: str) -> SelfSupervisionSettings | None:
        """Return the settings of the self-supervised loss; None if the mode has none."""
        every = _INTERVALS.get(mode, 0) if self.self_supervised_every is None else self.self_supervised_every
        if mode not in _INTERVALS:
            if self.self_supervised_every:
                raise UsageError(
                    f"self_supervised_every: expected encoder {' or '.join(_INTERVALS)}, got encoder {mode}"
                )
            return None
        if every == 0 and mode == "cotrain":
            raise UsageError("self_supervised_every: expected 1 or more for encoder cotrain, got 0")
        if every < 0 or self.self_supervised_lr <= 0:
            raise UsageError(
                "self_supervised_every, self_supervised_lr: expected an interval of 0 or more and a positive rate, "
                f"got {every} and {self.self_supervised_lr}"
            )
        return (
            SelfSupervisionSettings(every, self.self_supervised_lr, recent=mode == "cotrain")
            if every
            else None
        )

    def shift(self, mode: str, space: gym.Space) -> int:
        """Return the largest random shift of images [pixels]."""
        edges = [leaf.shape[0] for leaf in model_inputs(space).values() if is_image(leaf) and leaf.shape]
        trained = mode in TRAINED_ENCODERS and bool(edges)
        if self.random_shift is None:
            return round(_SHIFT * min(edges)) if trained else 0
        if self.random_shift and not trained:
            raise UsageError(
                f"random_shift: expected images and encoder {', '.join(TRAINED_ENCODERS)}, "
                f"got encoder {mode}{'' if edges else ' without images'}"
            )
        if self.random_shift < 0 or (trained and self.random_shift >= min(edges) // 2):
            raise UsageError(
                f"random_shift: expected 0 or more and less than half of the image, got {self.random_shift}"
            )
        return self.random_shift


def off_policy_arguments(arguments: Mapping[str, Any], space: gym.Space) -> tuple[dict[str, Any], int]:
    """Return the arguments of an off-policy algorithm, and the number of steps of its returns.

    From images, the default is 3 steps, as in DrQ-v2, and half of SB3's batch size.
    """
    defaults = {"n_steps": 3, "batch_size": 128} if images_only(space) else {"n_steps": 1}
    arguments = {**defaults, **arguments}
    n_steps = arguments.pop("n_steps")
    if not isinstance(n_steps, int) or n_steps < 1:
        raise UsageError(f"n_steps: expected 1 or more, got {n_steps}")
    return arguments, n_steps


@dataclass(frozen=True)
class ResolvedEncoder:
    """The encoder of an agent."""

    mode: str  # one of ENCODERS
    frozen: Representation | None = None  # modes random and frozen
    initial: WorldModel | None = None  # of a trained encoder: the initial weights
    schedule: EncoderSchedule | None = None  # of a trained encoder
    observed: str | None = None  # one of OBSERVED
    self_supervision: SelfSupervisionSettings | None = None
    random_shift: int = 0  # [pixels]

    def policy_arguments(self, features: FeatureBuilder) -> dict[str, Any]:
        """Return the `policy_kwargs` of SB3: the features extractor."""
        layers = self.observed == "latent_observation"
        if self.initial is None:
            extractor = {
                "features_extractor_class": PartExtractor,
                "features_extractor_kwargs": {"latent_dim": features.latent_dim},
            }
            return extractor if layers else {}
        return {
            "features_extractor_class": TrainedEncoder,
            "features_extractor_kwargs": {
                "model": self.initial,
                "inputs": features.encoder_inputs(),
                "schedule": self.schedule,
                "layers": layers,
            },
            "normalize_images": False,  # the encoder does
        }


def resolve_encoder(
    mode: str | None,
    representation: Representation | None,
    envs: VectorEnv,
    seed: int,
    settings: EncoderSettings | None = None,
) -> ResolvedEncoder:
    """Return the encoder of an agent.

    Args:
        mode: One of ENCODERS; None: frozen with a representation, else none.
        representation: A frozen encoder; a WorldModel for `finetune` and `cotrain`. For `random` and `scratch` a
            WorldModel, if there is one, sets the sizes, and for `scratch` the normalizer of the observations.
        envs: The envs of the agent.
        seed: Seed of fresh weights.
        settings: Further settings.

    Raises:
        UsageError: If the mode is unknown, or does not fit the representation or the settings.
    """
    settings = settings or EncoderSettings()
    if mode is None:
        mode = "none" if representation is None else "frozen"
    if mode not in ENCODERS:
        raise unknown_name_error("encoder", mode, ENCODERS)
    space, action_space = envs.single_observation_space, envs.single_action_space
    observed = resolve_observed(mode, settings.observe, space)
    self_supervision, shift = settings.self_supervision(mode), settings.shift(mode, space)
    if mode == "none":
        if representation is not None:
            raise UsageError(
                "encoder none uses no representation, got one; expected representation None, "
                f"or encoder {', '.join(ENCODERS[1:])}"
            )
        return ResolvedEncoder(mode)
    if isinstance(representation, WorldModel):
        check_spaces_match(representation, space, action_space, "this env")
    if mode == "frozen":
        if representation is None:
            raise UsageError(
                "encoder frozen needs a representation, got None; pass a world model or its folder"
            )
        return ResolvedEncoder(mode, representation, observed=observed)
    if mode in ("finetune", "cotrain"):
        if not isinstance(representation, WorldModel):
            raise UsageError(
                f"encoder {mode} needs a WorldModel, got {type(representation).__name__}; pass a model or its folder"
            )
        if not any(True for _ in representation.encoder.parameters()):
            raise UsageError(
                f"encoder {mode} needs an encoder with weights, got {type(representation.encoder).__name__}"
            )
        initial = representation
    else:
        world_model = representation if isinstance(representation, WorldModel) else None
        config = default_config_for(space) if world_model is None else world_model.config
        config = replace(config, encoder="network")  # a fixed encoder has no fresh weights
        initial = WorldModel(config, space, action_space, derive(seed, "random representation"))
        if mode == "random":
            return ResolvedEncoder(mode, initial.frozen_copy(), observed=observed)
        if world_model is not None:
            initial.observation_processor.load_state_dict(world_model.observation_processor.state_dict())
    return ResolvedEncoder(mode, None, initial, settings.schedule(mode), observed, self_supervision, shift)
