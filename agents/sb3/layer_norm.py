"""Networks of offline TD3: a layer norm and a tanh after the first layer, and a critic with behavior cloning.

The layer norm bounds the first features, so that values stay bounded for actions that the recorded stream does not
contain (Yarats et al., "Don't Change the Algorithm, Change the Data", 2022; Ball et al., RLPD, 2023).
"""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from .trained_encoder import EncoderTD3Policy


def with_layer_norm(network: nn.Sequential) -> nn.Sequential:
    """Return an MLP with layer norm and tanh in place of its first activation; the weights stay the same."""
    first, _, *rest = network
    assert isinstance(first, nn.Linear)
    norm = nn.LayerNorm(first.out_features).to(first.weight.device)
    return nn.Sequential(first, norm, nn.Tanh(), *rest)


class _LayerNormNetworks:
    """Mixin for TD3 policies: actor and critics have a layer norm after the first layer."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return an actor."""
        actor = super().make_actor(features_extractor)  # type: ignore[misc]
        actor.mu = with_layer_norm(actor.mu)
        return actor

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a critic."""
        critic = super().make_critic(features_extractor)  # type: ignore[misc]
        for index, network in enumerate(critic.q_networks):
            critic.q_networks[index] = with_layer_norm(network)
            critic.add_module(f"qf{index}", critic.q_networks[index])
        return critic


class CloningCritic(ContinuousCritic):
    """Critic whose value for the actor loss has the penalty of TD3+BC (Fujimoto and Gu, 2021).

    Attributes:
        behavior_cloning: Weight of the value over that of the penalty, 2.5 in the paper; 0: no penalty.
    """

    behavior_cloning = 0.0
    _recorded: Tensor | None = None  # actions (B, A) of the batch

    def forward(self, obs: Any, actions: Tensor) -> tuple[Tensor, ...]:
        """Return the values (B, 1) of each network."""
        self._recorded = actions.detach()
        return super().forward(obs, actions)

    def q1_forward(self, obs: Any, actions: Tensor) -> Tensor:
        """Return the values (B, 1) of the first network, which the actor maximizes."""
        value = super().q1_forward(obs, actions)
        if not self.behavior_cloning:
            return value
        assert self._recorded is not None
        scale = self.behavior_cloning / value.abs().mean().detach()
        return scale * value - (actions - self._recorded).square().mean(1, keepdim=True)


class LayerNormTD3Policy(_LayerNormNetworks, TD3Policy):
    """TD3 policy with layer norms and optional behavior cloning."""

    def __init__(self, *args: Any, behavior_cloning: float = 0.0, **kwargs: Any) -> None:
        self._behavior_cloning = behavior_cloning
        super().__init__(*args, **kwargs)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a critic with behavior cloning."""
        critic = super().make_critic(features_extractor)
        critic.__class__ = CloningCritic
        critic.behavior_cloning = self._behavior_cloning
        return critic


class LayerNormEncoderTD3Policy(_LayerNormNetworks, EncoderTD3Policy):
    """TD3 policy with layer norms and a trained encoder."""
