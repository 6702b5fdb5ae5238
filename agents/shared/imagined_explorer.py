"""Explorer: an actor-critic trained in imagined rollouts to reach what a world model does not know yet."""

from __future__ import annotations

import copy
import math

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.core.seeding import derive
from robossl.world_model import WorldModel
from robossl.world_model.model import disagreement
from robossl.world_model.networks import MLP

from .action_range import action_range

_HIDDEN = (128, 128)
_HORIZON = 15  # [steps] of an imagined rollout
_ROLLOUTS = 32  # imagined in one update
_DISCOUNT, _LAMBDA = 0.99, 0.95
_LEARNING_RATE = 3e-3
_MAX_GRAD_NORM = 10.0
_TARGET_RATE = 0.05  # of the moving average of the critic
_REWARD_RATE = 0.01  # of the moving average of the reward's mean and variance
_LOG_STD = (-3.0, 1.0)  # range of the Gaussian before the tanh
_BOX_ENTROPY = -0.7  # [nats per dimension] target of the actor; a uniform action in [-1, 1] has 0.7
_DISCRETE_ENTROPY = 0.3  # target of the actor, as a fraction of that of uniform actions
_TEMPERATURE_STEP = 0.015  # change of the log temperature in one update
_MIN_VARIANCE = 1e-12

ActionSpace = gym.spaces.Box | gym.spaces.Discrete


class ExplorerActor(nn.Module):
    """Stochastic policy on latents z (..., Z): a squashed Gaussian for a Box, categories for a Discrete.

    Samples for training have gradients (reparameterized, or straight-through for categories).
    """

    center: Tensor  # (A,)
    half_range: Tensor  # (A,)

    def __init__(self, latent_dim: int, space: ActionSpace) -> None:
        super().__init__()
        self.space = space
        if isinstance(space, gym.spaces.Discrete):
            self.network = MLP(latent_dim, _HIDDEN, int(space.n), linear_skip=False)
            self.target_entropy = _DISCRETE_ENTROPY * math.log(int(space.n))
            return
        low, high = (bound.reshape(-1) for bound in action_range(space))
        for name, value in (("center", (low + high) / 2), ("half_range", (high - low) / 2)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.network = MLP(latent_dim, _HIDDEN, 2 * low.size, linear_skip=False)
        self.target_entropy = _BOX_ENTROPY * low.size

    def sample(self, z: Tensor, model: WorldModel, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return actions (..., A), encoded for `model`, and estimates (...) of their entropy."""
        if isinstance(self.space, gym.spaces.Discrete):
            logits = F.log_softmax(self.network(z), -1)
            probabilities = logits.exp()
            chosen = F.one_hot((logits + _gumbel(logits, random)).argmax(-1), logits.shape[-1])
            return chosen + probabilities - probabilities.detach(), -(probabilities * logits).sum(-1)
        mean, log_std = self._gaussian(z)
        noise = torch.randn(mean.shape, generator=random).to(mean.device)
        raw = mean + log_std.exp() * noise
        log_density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        squashing = 2 * (math.log(2) - raw - F.softplus(-2 * raw))  # log(1 - tanh^2), stable
        actions = model.action_processor(self._env_actions(raw.tanh()))
        return actions, -(log_density - squashing).sum(-1)

    @torch.no_grad()
    def act(self, z: Tensor, random: torch.Generator, explore: bool = True) -> np.ndarray:
        """Return env actions (n, *A) at z (n, Z): sampled, or the most likely ones."""
        if isinstance(self.space, gym.spaces.Discrete):
            logits = self.network(z)
            drawn = logits + _gumbel(logits, random) if explore else logits
            return drawn.argmax(-1).cpu().numpy() + int(self.space.start)
        mean, log_std = self._gaussian(z)
        noise = torch.randn(mean.shape, generator=random).to(mean.device) if explore else 0.0
        actions = self._env_actions((mean + log_std.exp() * noise).tanh()).cpu().numpy()
        return np.clip(actions.astype(self.space.dtype), self.space.low, self.space.high)

    def _gaussian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (..., A) before the tanh."""
        mean, log_std = self.network(z).chunk(2, -1)
        low, high = _LOG_STD
        return mean, low + (high - low) * log_std.sigmoid()

    def _env_actions(self, squashed: Tensor) -> Tensor:
        """Return env actions (..., *A) of values (..., A) in [-1, 1]."""
        shape = self.space.shape or ()
        return (squashed * self.half_range + self.center).reshape(*squashed.shape[:-1], *shape)


class ImaginedExplorer:
    """Actor-critic whose reward is the disagreement of a world model (Plan2Explore, Sekar et al., 2020).

    The reward of an imagined step is log(1 + disagreement / median), standardized by its moving mean and standard
    deviation. Rollouts are differentiable, so the actor follows the gradient of the TD(lambda) return through the
    dynamics (as in Dreamer, Hafner et al., 2020): on a CPU tens of updates then do what a model-free agent needs a
    thousand for. The temperature of the entropy moves by a fixed step towards the target entropy.

    Args:
        latent_dim: Z of the world models.
        space: Action space of one sub-environment.
        seed: Seed of weights and imagined rollouts.
        device: Device of the world models.
    """

    def __init__(self, latent_dim: int, space: ActionSpace, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "explorer", "weights"))
            self.actor = ExplorerActor(latent_dim, space).to(device)
            self.critic = MLP(latent_dim, _HIDDEN, 1, linear_skip=False).to(device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._optimizers: dict[nn.Module, torch.optim.Optimizer] = {
            module: torch.optim.Adam(module.parameters(), lr=_LEARNING_RATE)
            for module in (self.actor, self.critic)
        }
        self.random = torch.Generator().manual_seed(derive(seed, "explorer", "imagination"))
        self.log_temperature = torch.zeros((), device=device)
        self._moments = torch.zeros(3, device=device)  # weight, mean and mean square of the rewards

    def train(self, model: WorldModel, starts: Tensor, actions: Tensor, updates: int) -> dict[str, float]:
        """Train in imagined rollouts.

        Args:
            model: The frozen world model.
            starts: Latents (S, Z) of recorded time steps; rollouts begin there.
            actions: Encoded actions (S, A) recorded there; they define the median disagreement.
            updates: Gradient steps.

        Returns:
            Means over the updates; `novelty` is the disagreement over its median.
        """
        with torch.no_grad():
            median = disagreement(model.ensemble_predictions(starts, actions)).median().clamp_min(1e-8)
        metrics = [self._update(model, starts, median) for _ in range(updates)]
        names = ("novelty", "entropy", "critic_loss")
        return dict(zip(names, torch.stack(metrics).mean(0).tolist())) if metrics else {}

    def _update(self, model: WorldModel, starts: Tensor, median: Tensor) -> Tensor:
        """Take one gradient step of actor and critic; return novelty, entropy and critic loss."""
        drawn = (
            torch.randint(size, (_ROLLOUTS,), generator=self.random).to(starts.device)
            for size in (len(starts), model.dynamics.num_heads)
        )
        chosen, heads = drawn
        rollout = torch.arange(_ROLLOUTS, device=starts.device)
        latents, novelties, entropies = [starts[chosen]], [], []
        for _ in range(_HORIZON):
            action, entropy = self.actor.sample(latents[-1], model, self.random)
            predictions = model.ensemble_predictions(latents[-1], action)  # (E, N, Z)
            variance = (predictions - predictions.mean(0)).square().mean((0, -1))
            novelties.append((variance + _MIN_VARIANCE).sqrt() / median)
            entropies.append(entropy)
            latents.append(
                predictions[heads, rollout]
            )  # one head each: their mean is smoother than any world
        novelty, entropy = torch.stack(novelties), torch.stack(entropies)  # (T, N)
        reward = self._standardize(novelty.log1p())
        values = self.target_critic(torch.stack(latents[1:]))[..., 0]  # (T, N)
        returns = lambda_returns(reward, values)
        self._step(self.actor, -returns.mean() - self.log_temperature.exp() * entropy.mean())
        states = torch.stack(latents[:-1]).detach()
        critic_loss = (self.critic(states)[..., 0] - returns.detach()).square().mean()
        self._step(self.critic, critic_loss)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target_critic.parameters()), list(self.critic.parameters()), _TARGET_RATE
            )
            excess = entropy.mean() - self.actor.target_entropy
            self.log_temperature -= _TEMPERATURE_STEP * excess.sign()
        return torch.stack([novelty.mean(), entropy.mean(), critic_loss]).detach()

    def _standardize(self, reward: Tensor) -> Tensor:
        """Return rewards (T, N) standardized by their moving mean and standard deviation, which are updated."""
        values = reward.detach()
        self._moments.lerp_(torch.stack([torch.ones_like(values[0, 0]), values.mean(), values.square().mean()]),
                            _REWARD_RATE)  # fmt: skip
        mean, square = self._moments[1:] / self._moments[0]
        return (reward - mean) / (square - mean.square()).clamp_min(1e-8).sqrt()

    def _step(self, module: nn.Module, loss: Tensor) -> None:
        """Take one gradient step of `module` alone."""
        parameters = list(module.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRAD_NORM)
        self._optimizers[module].step()


def lambda_returns(rewards: Tensor, next_values: Tensor) -> Tensor:
    """Return TD(lambda) returns (T, N) of rewards (T, N) and the values (T, N) of the states that they lead to."""
    returns, following = [], next_values[-1]
    for reward, value in zip(rewards.flip(0), next_values.flip(0)):
        following = reward + _DISCOUNT * ((1 - _LAMBDA) * value + _LAMBDA * following)
        returns.append(following)
    return torch.stack(returns[::-1])


def _gumbel(like: Tensor, random: torch.Generator) -> Tensor:
    """Return standard Gumbel noise; the argmax of log probabilities plus it is a sample."""
    uniform = torch.rand(like.shape, generator=random).clamp(1e-9, 1 - 1e-7)
    return -(-uniform.log()).log().to(like.device)
