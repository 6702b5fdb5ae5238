"""Encoders trained by the loss of the agent: a features extractor, its optimizer, and policies for SB3's algorithms.

SB3 trains a shared features extractor with the actor loss. Here the critic owns the encoder: the critic loss trains it,
the actor receives its output without gradient (as in DrQ, Yarats et al., 2021), and the target critic has a copy that
follows by Polyak averaging. PPO trains the encoder with its joint loss, DQN with its Q loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel

from .features import VECTOR, EncoderInputs
from .parts import PartLayers


@dataclass(frozen=True)
class EncoderSchedule:
    """Learning rate of the encoder, as a factor of the agent's learning rate, over the gradient steps."""

    frozen_updates: int = 0  # first gradient steps, in which only the rest of the critic is trained
    slow_updates: int = 0  # gradient steps (those before included) after which the factor is `fast`
    slow: float = 1.0
    fast: float = 1.0

    def __post_init__(self) -> None:
        """Raise UsageError for negative values."""
        if min(self.frozen_updates, self.slow_updates, self.slow, self.fast) < 0:
            raise UsageError(f"encoder schedule: expected values of 0 or more, got {self}")

    def factor(self, update: int) -> float:
        """Return the factor of the gradient step `update`, counted from 0."""
        if update < self.frozen_updates:
            return 0.0
        return self.slow if update < self.slow_updates else self.fast


class TrainedEncoder(BaseFeaturesExtractor):
    """Observations (B, ...) -> features (B, F): the latent of a trainable encoder, and what is observed beside it."""

    def __init__(
        self,
        observation_space: gym.Space,
        model: WorldModel,
        inputs: EncoderInputs,
        schedule: EncoderSchedule,
        layers: bool = False,
    ) -> None:
        """Copy the encoder of `model`.

        Args:
            observation_space: Space of the observations that SB3 receives, see `FeatureBuilder`.
            model: World model with the initial weights and the normalizer.
            inputs: Where the inputs of the encoder are.
            schedule: Learning rate of the encoder.
            layers: Whether latent and numbers pass `PartLayers`; otherwise the numbers follow the latent.
        """
        beside_dim = len(inputs.beside)
        super().__init__(
            observation_space, PartLayers.features_dim if layers else model.latent_dim + beside_dim
        )
        copied = model.trainable_copy()
        self.processor, self.encoder = copied.observation_processor, copied.encoder
        self.inputs, self.schedule = inputs, schedule
        self.layers = PartLayers(model.latent_dim, beside_dim) if layers else None
        self.register_buffer("columns", torch.tensor(inputs.columns, dtype=torch.long), persistent=False)
        self.register_buffer("beside", torch.tensor(inputs.beside, dtype=torch.long), persistent=False)

    columns: Tensor
    beside: Tensor

    def forward(self, observations: PyTorchObs) -> Tensor:
        """Return features (B, F) of observations as SB3 prepares them (images as floats from 0 to 255)."""
        parts = observations if isinstance(observations, dict) else {VECTOR: observations}
        vector = parts.get(VECTOR)
        normalized = None
        if len(self.columns):
            assert vector is not None
            normalized = self.processor.normalize_vector(vector[:, self.columns])
        images = {path: parts[key].movedim(1, -1) for path, key in self.inputs.images.items()}
        pairs = {path: image.chunk(2, -1) for path, image in images.items()}  # this step and the previous one
        z: Tensor = self.encoder(normalized, pairs)
        if vector is None:
            return z
        beside = vector[:, self.beside]
        return torch.cat([z, beside], 1) if self.layers is None else self.layers(z, beside)

    def share(self, model: WorldModel) -> None:
        """Use the encoder of `model` itself; the optimizer must be created afterwards."""
        self.processor, self.encoder = model.observation_processor, model.encoder

    def reset_weights(self, model: WorldModel) -> None:
        """Set the weights of the encoder to those of `model`."""
        self.encoder.load_state_dict(model.encoder.state_dict())


class _WithoutGradient(BaseFeaturesExtractor):
    """Output of an encoder that another module owns, without gradient; has no parameters of its own."""

    def __init__(self, owner: TrainedEncoder) -> None:
        super().__init__(owner._observation_space, owner.features_dim)
        self._owner = (owner,)  # in a tuple, so that torch does not register it as a submodule

    def forward(self, observations: PyTorchObs) -> Tensor:
        """Return features (B, F)."""
        with torch.no_grad():
            return self._owner[0](observations)


class EncoderAdam(torch.optim.Adam):
    """Adam with two parameter groups: the encoder, whose learning rate follows a schedule, and the rest."""

    def __init__(self, module: nn.Module, encoder: TrainedEncoder, lr: float, **settings: Any) -> None:
        encoder_ids = {id(parameter) for parameter in encoder.encoder.parameters()}
        rest = [parameter for parameter in module.parameters() if id(parameter) not in encoder_ids]
        trained = [parameter for parameter in encoder.encoder.parameters() if parameter.requires_grad]
        super().__init__([{"params": trained}, {"params": rest}], lr=lr, **settings)
        self.schedule = encoder.schedule
        self.after_step: Callable[[], None] | None = None  # called after each step

    @property
    def num_updates(self) -> int:
        """Gradient steps so far; part of the optimizer's saved state."""
        state = self.state.get(self.param_groups[1]["params"][-1])
        return int(state["step"]) if state else 0

    def step(self, closure: Any = None) -> Any:
        """Update the parameters; SB3 has set the same learning rate for both groups."""
        encoder, factor = self.param_groups[0], self.schedule.factor(self.num_updates)
        if factor == 0:
            for parameter in encoder["params"]:
                parameter.grad = None
        learning_rate = encoder["lr"]
        encoder["lr"] = learning_rate * factor
        try:
            loss = super().step(closure)
        finally:
            encoder["lr"] = learning_rate
        if self.after_step is not None:
            self.after_step()
        return loss


class CriticOwnsEncoder:
    """Mixin for policies with an actor, a critic and a target critic: the critic owns the encoder."""

    _encoder: tuple[TrainedEncoder] | None = None  # in a tuple, so that torch does not register it

    def _build(self: Any, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self.make_encoder_optimizer(lr_schedule)

    @property
    def encoder_owner(self: Any) -> Any:
        """The network whose loss trains the encoder."""
        return self.critic

    def make_encoder_optimizer(self: Any, lr_schedule: Schedule) -> EncoderAdam:
        """Create the optimizer of the critic and its encoder."""
        critic = self.critic
        critic.optimizer = EncoderAdam(
            critic, critic.features_extractor, lr_schedule(1), **self.optimizer_kwargs
        )
        return critic.optimizer

    def make_actor(self: Any, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return an actor that receives the critic's encoding without gradient."""
        if self._encoder is None:
            self._encoder = (self.make_features_extractor(),)
        return super().make_actor(_WithoutGradient(self._encoder[0]))  # type: ignore[misc]

    def make_critic(self: Any, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return the critic with the encoder, or in later calls a target critic with a separate copy."""
        return super().make_critic(None if hasattr(self, "critic") else self._encoder[0])  # type: ignore[misc]


class _Critic(ContinuousCritic):
    """Critic whose encoder gets gradients from the critic loss only, where the actions have no gradient."""

    def forward(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not actions.requires_grad):
            features = self.extract_features(obs, self.features_extractor)
        inputs = torch.cat([features, actions], dim=1)
        return tuple(q_net(inputs) for q_net in self.q_networks)


class _ContinuousPolicy(CriticOwnsEncoder):
    def make_critic(self: Any, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return the critic with the encoder, or in later calls a target critic with a separate copy."""
        encoder = None if hasattr(self, "critic") else self._encoder[0]
        return _Critic(**self._update_features_extractor(self.critic_kwargs, encoder)).to(self.device)


class EncoderSACPolicy(_ContinuousPolicy, SACPolicy):  # type: ignore[misc]
    """SAC policy with a trained encoder."""


class EncoderTD3Policy(_ContinuousPolicy, TD3Policy):  # type: ignore[misc]
    """TD3 policy with a trained encoder."""


class EncoderPPOPolicy(ActorCriticPolicy):
    """PPO policy with a trained encoder that actor and critic share."""

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        encoder = self.features_extractor
        assert isinstance(encoder, TrainedEncoder)
        encoder.reset_weights(self.features_extractor_kwargs["model"])  # SB3 initializes all layers
        self.optimizer = EncoderAdam(self, encoder, lr_schedule(1), **self.optimizer_kwargs)


class EncoderDQNPolicy(DQNPolicy):
    """DQN policy whose Q network owns a trained encoder; the target network has a copy."""

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.make_encoder_optimizer(lr_schedule)

    @property
    def encoder_owner(self) -> Any:
        """The network whose loss trains the encoder."""
        return self.q_net

    def make_encoder_optimizer(self, lr_schedule: Schedule) -> EncoderAdam:
        """Create the optimizer of the Q network and its encoder."""
        encoder = self.q_net.features_extractor
        assert isinstance(encoder, TrainedEncoder)
        self.optimizer = EncoderAdam(self.q_net, encoder, lr_schedule(1), **self.optimizer_kwargs)
        return self.optimizer
