"""Learner: networks, targets and optimizers of the self-predictive agent, and the two kinds of updates."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.core.errors import UsageError

from .embedding import Embedding, PolicyNetwork, TwinValue
from .embedding_loss import UnrollBatch, embedding_loss
from .presets import SelfPredictiveConfig

_MAX_GRAD_NORM = 20.0  # of the values
_PRE_ACTIVATION_WEIGHT = 1e-5  # of the squared numbers before the tanh, in the loss of the policy
_SMALLEST_SCALE = 1e-6  # of rewards


class ReturnBatch(NamedTuple):
    """B transitions over several steps; input_dim I, action_dim A."""

    inputs: Tensor  # (B, I)
    action: Tensor  # (B, A) in [-1, 1]
    returned: Tensor  # (B,) discounted sum of the rewards of the steps
    discount: Tensor  # (B,) of the value at `last`; 0 after a termination
    last: Tensor  # (B, I) inputs after the last of the steps


class Learner:
    """TD3 (Fujimoto et al., 2018) on an embedding that only its own loss trains.

    Attributes:
        online: Networks that are trained: embedding, value and policy.
        target: Copies that stay fixed between two calls of `copy_targets`.
        reward_scale: Rewards are divided by it; the mean absolute reward at the last copy.
    """

    def __init__(
        self, input_dim: int, action_dim: int, config: SelfPredictiveConfig, seed: int, device: torch.device
    ) -> None:
        """Create the networks; `seed` sets their weights."""
        random = torch.Generator().manual_seed(seed)
        self.config, self.device = config, device
        self.online = nn.ModuleDict(
            {
                "embedding": Embedding(
                    input_dim, action_dim, config.latent_dim, config.encoder_hidden, config.action_embedding_dim, random
                ),
                "value": TwinValue(config.latent_dim, config.value_hidden, random),
                "policy": PolicyNetwork(config.latent_dim, config.policy_hidden, action_dim, random),
            }
        ).to(device)  # fmt: skip
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self._optimizers = {
            name: torch.optim.AdamW(
                network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay,
                fused=device.type in ("cpu", "cuda"),
            )
            for name, network in self.online.items()
        }  # fmt: skip
        self.reward_scale = self._target_reward_scale = 1.0

    def _of(self, networks: nn.ModuleDict) -> tuple[Embedding, TwinValue, PolicyNetwork]:
        return networks["embedding"], networks["value"], networks["policy"]  # type: ignore[return-value]

    @torch.no_grad()
    def act(self, inputs: np.ndarray) -> np.ndarray:
        """Return the actions (n, A) of the policy, in [-1, 1], for inputs (n, I)."""
        embedding, _, policy = self._of(self.online)
        z = embedding.encode(torch.as_tensor(inputs, device=self.device))
        return policy(z)[0].cpu().numpy()

    def copy_targets(self, reward_scale: float) -> None:
        """Copy the networks into the targets; from now on divide rewards by another scale."""
        self.target.load_state_dict(self.online.state_dict())
        self._target_reward_scale, self.reward_scale = self.reward_scale, max(reward_scale, _SMALLEST_SCALE)

    def update_embedding(self, batch: UnrollBatch) -> dict[str, Tensor]:
        """Make one gradient step on the embedding; return the terms of its loss."""
        embedding, target = self._of(self.online)[0], self._of(self.target)[0]
        loss, terms = embedding_loss(embedding, target, batch, self.config)
        self._step("embedding", loss)
        return {name: term.detach() for name, term in terms.items()}

    def update_actor_critic(self, batch: ReturnBatch, noise: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Make one gradient step on the values and one on the policy; the embedding does not change.

        Args:
            batch: Transitions.
            noise: Standard normal (B, A), for the actions of the target policy.

        Returns:
            The losses, and the larger TD error of the two values (B,), in scaled units.
        """
        embedding, value, policy = self._of(self.online)
        with torch.no_grad():
            z = embedding.encode(batch.inputs)
            joint = embedding.join(z, batch.action)
            desired = self._target_values(batch, noise)  # (B,)
        values = value(joint)  # (2, B)
        value_loss = F.smooth_l1_loss(values, desired.expand_as(values), reduction="none").mean(1).sum()
        self._step("value", value_loss, _MAX_GRAD_NORM)
        action, before = policy(z)
        policy_loss = -value(embedding.join(z, action)).mean()
        self._step("policy", policy_loss + _PRE_ACTIVATION_WEIGHT * before.square().mean())
        error = (values.detach() - desired).abs().amax(0)
        losses = {
            "value": value_loss.detach(),
            "policy": policy_loss.detach(),
            "mean_value": values.detach().mean() * self.reward_scale,
        }
        return losses, error

    def _target_values(self, batch: ReturnBatch, noise: Tensor) -> Tensor:
        """Return the scaled values (B,) that the two values are trained towards."""
        embedding, value, policy = self._of(self.target)
        z = embedding.encode(batch.last)
        clip = self.config.target_noise_clip
        action = (policy(z)[0] + (self.config.target_noise_std * noise).clamp(-clip, clip)).clamp(-1, 1)
        bootstrap = value(embedding.join(z, action)).amin(0) * self._target_reward_scale
        return (batch.returned + batch.discount * bootstrap) / self.reward_scale

    def _step(self, name: str, loss: Tensor, max_norm: float | None = None) -> None:
        """Make one gradient step on the network `name`, and on no other."""
        parameters = list(self.online[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        if max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, max_norm)
        self._optimizers[name].step()
        self._optimizers[name].zero_grad()

    # --- state

    def get_state(self) -> dict[str, Any]:
        """Return copies of weights, targets, optimizer states and scales."""
        return {
            "online": _to_arrays(self.online.state_dict()),
            "target": _to_arrays(self.target.state_dict()),
            "optimizers": {
                name: {str(index): _to_arrays(entry) for index, entry in optimizer.state_dict()["state"].items()}
                for name, optimizer in self._optimizers.items()
            },
            "reward_scale": self.reward_scale,
            "target_reward_scale": self._target_reward_scale,
        }  # fmt: skip

    def set_state(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_state`.

        Raises:
            UsageError: If it is the state of networks of another size.
        """
        for networks, saved in ((self.online, tree["online"]), (self.target, tree["target"])):
            shapes = {name: tuple(value.shape) for name, value in networks.state_dict().items()}
            if shapes != {name: np.shape(value) for name, value in saved.items()}:
                raise UsageError("expected the saved state of networks of the same size, got others")
            networks.load_state_dict(_to_tensors(saved))
        for name, optimizer in self._optimizers.items():
            state = {int(index): _to_tensors(entry) for index, entry in tree["optimizers"][name].items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.reward_scale = float(tree["reward_scale"])
        self._target_reward_scale = float(tree["target_reward_scale"])


def _to_arrays(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy().copy() for name, value in values.items()}


def _to_tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
