"""Encoder modes of SB3 agents: what the agent observes, and which loss trains the encoder.

| mode | the agent observes | the encoder |
| --- | --- | --- |
| `none` | the numbers of the observation | - |
| `random` | latent and numbers | fresh weights, never trained |
| `frozen` | latent and numbers | of the representation; never trained by the agent |
| `finetune` | latent and numbers | starts with the weights of the world model, trained by the critic loss |
| `scratch` | latent and numbers | starts with fresh weights, trained by the critic loss |

Images are observed through the latent only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gymnasium.vector import VectorEnv

from robossl.core.agent_observation import ENCODERS
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import Representation
from robossl.core.seeding import derive
from robossl.world_model import WorldModel
from robossl.world_model.config import default_config_for
from robossl.world_model.data_validation import check_spaces_match

from .trained_encoder import EncoderSchedule

_SCHEDULES = {
    "finetune": EncoderSchedule(frozen_updates=1000, slow_updates=5000, slow=0.1, fast=0.3),
    "scratch": EncoderSchedule(),
}


@dataclass(frozen=True)
class ResolvedEncoder:
    """The encoder of an agent."""

    mode: str  # one of ENCODERS
    frozen: Representation | None = None  # modes random and frozen
    initial: WorldModel | None = None  # modes finetune and scratch: the initial weights
    schedule: EncoderSchedule | None = None  # modes finetune and scratch


def resolve_encoder(
    mode: str | None,
    representation: Representation | None,
    envs: VectorEnv,
    seed: int,
    frozen_updates: int | None = None,
    slow_updates: int | None = None,
    lr_factors: Sequence[float] | None = None,
) -> ResolvedEncoder:
    """Return the encoder of an agent.

    Args:
        mode: One of ENCODERS; None: frozen with a representation, else none.
        representation: A frozen encoder; a WorldModel for `finetune`. For `random` and `scratch` optional: a WorldModel
            sets the sizes, and for `scratch` the normalizer of the observations.
        envs: The envs of the agent.
        seed: Seed of fresh weights.
        frozen_updates: First gradient steps in which the encoder is not trained; None: 1,000 for finetune, else 0.
        slow_updates: Gradient steps with the first factor; None: 5,000 for finetune, else 0.
        lr_factors: The encoder's learning rate over that of the agent, first and later; None: 0.1 and 0.3 for finetune,
            else 1.

    Raises:
        UsageError: If the mode is unknown, or does not fit the representation.
    """
    if mode is None:
        mode = "none" if representation is None else "frozen"
    if mode not in ENCODERS:
        raise unknown_name_error("encoder", mode, ENCODERS)
    if mode == "none":
        if representation is not None:
            raise UsageError(
                "encoder none uses no representation, got one; expected representation None, "
                "or encoder random, frozen, finetune or scratch"
            )
        return ResolvedEncoder(mode)
    space, action_space = envs.single_observation_space, envs.single_action_space
    if isinstance(representation, WorldModel):
        check_spaces_match(representation, space, action_space, "this env")
    if mode == "frozen":
        if representation is None:
            raise UsageError(
                "encoder frozen needs a representation, got None; pass a world model or its folder"
            )
        return ResolvedEncoder(mode, frozen=representation)
    if mode == "finetune":
        if not isinstance(representation, WorldModel):
            raise UsageError(
                f"encoder finetune needs a WorldModel, got {type(representation).__name__}; pass a model or its folder"
            )
        initial = representation
    else:
        world_model = representation if isinstance(representation, WorldModel) else None
        config = default_config_for(space) if world_model is None else world_model.config
        initial = WorldModel(config, space, action_space, derive(seed, "random representation"))
        if mode == "random":
            return ResolvedEncoder(mode, frozen=initial.frozen_copy())
        if world_model is not None:
            initial.observation_processor.load_state_dict(world_model.observation_processor.state_dict())
    default = _SCHEDULES[mode]
    slow, fast = (default.slow, default.fast) if lr_factors is None else tuple(map(float, lr_factors))
    schedule = EncoderSchedule(
        default.frozen_updates if frozen_updates is None else frozen_updates,
        default.slow_updates if slow_updates is None else slow_updates,
        slow,
        fast,
    )
    return ResolvedEncoder(mode, initial=initial, schedule=schedule)
