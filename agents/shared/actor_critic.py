"""Soft actor-critic with a pessimistic ensemble of critics, on vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.core.seeding import derive

_LOG_STD = (-5.0, 1.0)  # range of the actor's log standard deviation, before the tanh
_INITIAL_TEMPERATURE = 0.1  # for rewards with a standard deviation of 1
_TEMPERATURE_RATE = 3e-3


class Transitions(NamedTuple):
    """B transitions."""

    state: Tensor  # (B, S)
    action: Tensor  # (B, A) in [-1, 1]
    reward: Tensor  # (B,)
    next_state: Tensor  # (B, S)
    terminated: Tensor  # (B,) 1 where no future follows, else 0

    @classmethod
    def join(cls, parts: Sequence[Transitions]) -> Transitions:
        """Return the transitions of all parts."""
        return cls(*(torch.cat(values) for values in zip(*parts)))


@dataclass(frozen=True)
class ActorCriticConfig:
    """Sizes and optimizer settings."""

    hidden: tuple[int, ...] = (256, 256)  # of the actor and of each critic
    num_critics: int = 5  # K
    learning_rate: float = 1e-3
    gamma: float = 0.99
    target_rate: float = 0.01  # of the exponential moving average of the target critics


class Actor(nn.Module):
    """State (..., S) -> mean and log standard deviation (..., A) of a Gaussian, squashed by tanh."""

    def __init__(self, state_dim: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([state_dim, *hidden]):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear([state_dim, *hidden][-1], 2 * action_dim))

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (..., A)."""
        mean, log_std = self.network(state).chunk(2, -1)
        low, high = _LOG_STD
        return mean, low + (high - low) * (log_std.tanh() + 1) / 2

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions (..., A) in [-1, 1] for standard normal noise (..., A), and their log density (...)."""
        mean, log_std = self(state)
        raw = mean + log_std.exp() * noise
        density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        correction = 2 * (math.log(2) - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), stable
        return raw.tanh(), (density - correction).sum(-1)


class CriticEnsemble(nn.Module):
    """K critics with layer norm as one batched product a layer: (..., S), (..., A) -> (K, ...)."""

    def __init__(self, state_dim: int, action_dim: int, hidden: Sequence[int], count: int) -> None:
        super().__init__()
        widths = [state_dim + action_dim, *hidden, 1]
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(count, i, o)) for i, o in pairwise(widths))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(count, 1, o)) for o in widths[1:])
        with torch.no_grad():
            for weight in self.weights:
                bound = 1 / math.sqrt(weight.shape[1])
                weight.uniform_(-bound, bound)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the values (K, ...)."""
        x = torch.cat([state, action], -1)
        lead, count = x.shape[:-1], len(self.weights[0])
        x = x.reshape(-1, x.shape[-1]).expand(count, -1, -1)
        *hidden, (last_weight, last_bias) = zip(self.weights, self.biases)
        for weight, bias in hidden:
            x = torch.baddbmm(bias, x, weight)
            x = F.silu(F.layer_norm(x, x.shape[-1:]))
        return torch.baddbmm(last_bias, x, last_weight).reshape(count, *lead)


class ActorCritic:
    """SAC (Haarnoja et al., 2018) whose targets and actor loss use the minimum over all critics (SAC-N, 2021).

    Values are sums of rewards alone, without the entropy, so that they can be added to predicted rewards. The target
    entropy is -A, and the temperature is learned.

    Args:
        state_dim: S.
        action_dim: A.
        config: Sizes and optimizer settings.
        seed: Seed of the weights and of the sampled actions.
        device: Device of the networks.
    """

    def __init__(
        self, state_dim: int, action_dim: int, config: ActorCriticConfig, seed: int, device: torch.device
    ) -> None:
        self.config, self.action_dim, self.device = config, action_dim, device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "actor critic", "weights"))
            self.actor = Actor(state_dim, action_dim, config.hidden).to(device)
            critics = (
                CriticEnsemble(state_dim, action_dim, config.hidden, config.num_critics) for _ in range(2)
            )
            self.critics, self.targets = (ensemble.to(device) for ensemble in critics)
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(False)
        self.log_temperature = torch.tensor(math.log(_INITIAL_TEMPERATURE), device=device, requires_grad=True)
        rate = config.learning_rate
        self._optimizers = {
            "actor": torch.optim.Adam(self.actor.parameters(), lr=rate),
            "critics": torch.optim.Adam(self.critics.parameters(), lr=rate),
            "temperature": torch.optim.Adam([self.log_temperature], lr=_TEMPERATURE_RATE),
        }
        self._random = torch.Generator().manual_seed(derive(seed, "actor critic", "noise"))

    def noise(self, *shape: int) -> Tensor:
        """Return standard normal noise of the agent's own generator."""
        return torch.randn(*shape, generator=self._random).to(self.device)

    @torch.no_grad()
    def act(self, state: Tensor, explore: bool) -> Tensor:
        """Return actions (..., A) in [-1, 1]: the mode, or a sample."""
        if not explore:
            return self.actor(state)[0].tanh()
        return self.actor.sample(state, self.noise(*state.shape[:-1], self.action_dim))[0]

    @torch.no_grad()
    def value(self, state: Tensor) -> Tensor:
        """Return the smallest value (...) over the critics, of the mode of the policy at states (..., S)."""
        return self.critics(state, self.act(state, explore=False)).min(0).values

    def update(self, batch: Transitions) -> dict[str, float]:
        """Take one gradient step of critics, actor and temperature; return the losses."""
        noise = self.noise(2, len(batch.reward), self.action_dim)
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            next_action, _ = self.actor.sample(batch.next_state, noise[0])
            next_value = self.targets(batch.next_state, next_action).min(0).values
            target = batch.reward + self.config.gamma * (1 - batch.terminated) * next_value
        values = self.critics(batch.state, batch.action)  # (K, B)
        critic_loss = (values - target).square().mean(1).sum()
        self._step("critics", critic_loss)

        action, log_density = self.actor.sample(batch.state, noise[1])
        self.critics.requires_grad_(False)
        actor_loss = (temperature * log_density - self.critics(batch.state, action).min(0).values).mean()
        self._step("actor", actor_loss)
        self.critics.requires_grad_(True)
        entropy_gap = (-log_density.detach() + self.action_dim).mean()  # above the target entropy
        self._step("temperature", self.log_temperature.exp() * entropy_gap)
        with torch.no_grad():
            for parameter, source in zip(self.targets.parameters(), self.critics.parameters()):
                parameter.lerp_(source, self.config.target_rate)
        return {
            "critic_loss": float(critic_loss.detach()) / self.config.num_critics,
            "actor_loss": float(actor_loss.detach()),
            "temperature": float(temperature),
            "value": float(values.detach().mean()),
        }

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return weights, optimizer states and the random generator."""
        return {
            "weights": self.get_weights(),
            "targets": _arrays(self.targets.state_dict()),
            "optimizers": {
                name: {str(index): _arrays(state) for index, state in optimizer.state_dict()["state"].items()}
                for name, optimizer in self._optimizers.items()
            },
            "random": self._random.get_state().numpy().copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        self.set_weights(tree["weights"])
        self.targets.load_state_dict(_tensors(tree["targets"]))
        for name, optimizer in self._optimizers.items():
            state = {int(index): _tensors(values) for index, values in tree["optimizers"][name].items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self._random.set_state(torch.from_numpy(np.array(tree["random"], np.uint8)))

    def get_weights(self) -> dict[str, Any]:
        """Return the weights of actor and critics and the temperature; enough to act."""
        return {
            "actor": _arrays(self.actor.state_dict()),
            "critics": _arrays(self.critics.state_dict()),
            "log_temperature": self.log_temperature.detach().cpu().numpy().copy(),
        }

    def set_weights(self, tree: Mapping[str, Any]) -> None:
        """Set what `get_weights` returned; the target critics become equal to the critics."""
        self.actor.load_state_dict(_tensors(tree["actor"]))
        self.critics.load_state_dict(_tensors(tree["critics"]))
        self.targets.load_state_dict(self.critics.state_dict())
        with torch.no_grad():
            self.log_temperature.copy_(torch.tensor(np.array(tree["log_temperature"])))


def _arrays(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: torch.as_tensor(value).detach().cpu().numpy().copy() for name, value in state.items()}


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(np.array(value)) for name, value in arrays.items()}
