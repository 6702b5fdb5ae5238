"""Stacked training: several offline TD3 agents learn as one batched network.

The agents may have different seeds, tasks, streams and observations. Every agent keeps its own batches, noise and
optimizer state, and gets the weights that it would learn alone, within float rounding.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter

from .offline_replay import CachedReplay
from .parts import PartExtractor
from .stacked_networks import StackedAdam, StackedMLP, update_targets

_BLOCK = 50  # [updates] whose noise is drawn at once, so that the agents' random states are swapped rarely
_SAMPLED_BYTES = 1 << 23  # of the batches that are read at once
_EQUAL = (
    "batch_size", "gamma", "tau", "policy_delay", "target_policy_noise", "target_noise_clip", "_n_updates",
)  # fmt: skip
_EQUAL_ADAM = ("lr", "betas", "eps", "weight_decay")


class _Batch(NamedTuple):
    """One batch of each agent; the order is that of `ReplayBufferSamples`."""

    observation: Tensor  # (S, B, F)
    action: Tensor  # (S, B, A)
    next_observation: Tensor  # (S, B, F)
    terminated: Tensor  # (S, B, 1)
    reward: Tensor  # (S, B, 1)


class _Features:
    """Features of observations (S, B, F): themselves, or the outputs of two stacked layers as in `PartExtractor`."""

    def __init__(self, extractors: Sequence[Any], input_dim: int) -> None:
        """Stack the layers of `extractors`, if they have any."""
        self.stacks: list[StackedMLP] = []
        self._masks: list[
            Tensor
        ] = []  # (S, 1, I) 1 for the inputs of a part; others would move its padded weights
        if not isinstance(extractors[0], PartExtractor):
            return
        for part in ("latent", "beside"):
            rows = []
            for extractor in extractors:
                dim, total = extractor.latent_dim, extractor._observation_space.shape[0]
                rows.append(torch.arange(dim) if part == "latent" else torch.arange(dim, total))
            layers = [getattr(extractor.parts, part) for extractor in extractors]
            self.stacks.append(StackedMLP(layers, rows, input_dim))
            mask = self.stacks[-1].parameters[0].new_zeros(len(rows), 1, input_dim).detach()
            for each, inputs in zip(mask, rows):
                each[:, inputs] = 1
            self._masks.append(mask)

    def __call__(self, observation: Tensor) -> Tensor:
        """Return features of observations."""
        if not self.stacks:
            return observation
        return torch.cat([stack(observation * mask) for stack, mask in zip(self.stacks, self._masks)], -1)


class StackedTD3:
    """The update of TD3 for a stack of S agents."""

    def __init__(self, agents: Sequence[Any]) -> None:
        """Stack agents `OfflineTd3Agent` with equal settings and hidden layers, and a recorded stream each.

        Raises:
            UsageError: If they are not equal, after different numbers of updates, or train an encoder.
        """
        _check_equal(agents)
        self.agents = list(agents)
        algorithms: list[Any] = [agent.algorithm for agent in agents]
        self._algorithms, self._first = algorithms, algorithms[0]
        self._critics = len(algorithms[0].critic.q_networks)
        sizes = [a.observation_space.shape[0] for a in algorithms]
        self._input_dim, self._padded = max(sizes), min(sizes) < max(sizes)
        self.actor_features, self.actor = self._stack("actor")
        self.actor_target_features, self.actor_target = self._stack("actor_target")
        self.critic_features, self.critic = self._stack("critic")  # of C S networks
        self.critic_target_features, self.critic_target = self._stack("critic_target")
        self._actor_adam = StackedAdam(
            [*self.actor_features.stacks, self.actor], [a.actor.optimizer for a in algorithms]
        )
        self._critic_adam = StackedAdam(
            [*self.critic_features.stacks, self.critic], [a.critic.optimizer for a in algorithms]
        )
        self._updates = int(algorithms[0]._n_updates)

    def _stack(self, name: str) -> tuple[_Features, StackedMLP]:
        """Return the stacked feature layers and MLPs of the actors or the critics, or of their targets."""
        modules = [getattr(algorithm, name) for algorithm in self._algorithms]
        features = _Features([module.features_extractor for module in modules], self._input_dim)
        is_critic = name.startswith("critic")
        actions = self._first.action_space.shape[0] if is_critic else 0
        rows = None
        if not features.stacks:
            rows = [
                torch.cat(
                    [torch.arange(a.observation_space.shape[0]), self._input_dim + torch.arange(actions)]
                )
                for a in self._algorithms
            ]
        if not is_critic:
            return features, StackedMLP([m.mu for m in modules], rows, self._input_dim)
        networks = [m.q_networks[i] for i in range(self._critics) for m in modules]
        rows = None if rows is None else rows * self._critics
        return features, StackedMLP(networks, rows, self._input_dim + actions)

    def train(self, updates: int, progress: ProgressReporter | None = None) -> None:
        """Run `updates` updates of every agent, and write weights and optimizer states into the agents."""
        progress = progress or NullProgress()
        for start in range(0, updates, _BLOCK):
            count = min(_BLOCK, updates - start)
            noise = torch.stack([self._draw_noise(agent, count) for agent in self.agents], 1)
            for batch, each in zip(self._batches(count), noise):
                loss = self._update(batch, each)
            progress.update(count * len(self.agents), critic_loss=float(loss.detach()) / len(self.agents))
        for features, stack in (
            (self.actor_features, self.actor), (self.actor_target_features, self.actor_target),
            (self.critic_features, self.critic), (self.critic_target_features, self.critic_target),
        ):  # fmt: skip
            for part in (*features.stacks, stack):
                part.write_back()
        self._actor_adam.write_back()
        self._critic_adam.write_back()
        for algorithm in self._algorithms:
            algorithm._n_updates = self._updates

    def _draw_noise(self, agent: Any, count: int) -> Tensor:
        """Return `count` times the noise (B, A) of the target actions, drawn as SB3 draws it."""
        algorithm = agent.algorithm
        shape = (algorithm.batch_size, *algorithm.action_space.shape)
        with agent._randomness.active():
            return torch.stack(
                [
                    torch.empty(shape, device=algorithm.device).normal_(0, algorithm.target_policy_noise)
                    for _ in range(count)
                ]
            )

    def _batches(self, count: int) -> Iterator[_Batch]:
        """Yield `count` batches of the recorded stream of each agent."""
        size = self._first.batch_size
        replays = [agent.offline_buffer.recorded for agent in self.agents]
        several = max(_SAMPLED_BYTES // (8 * len(replays) * size * self._input_dim), 1)
        if not all(isinstance(replay, CachedReplay) for replay in replays):
            several = 1
        for start in range(0, count, several):
            number = min(several, count - start)
            samples = [
                replay.sample_batches(size, number) if number > 1 else replay.sample(size)
                for replay in replays
            ]
            columns = [self._joined(list(each)) for each in zip(*(sample[:5] for sample in samples))]
            yield from (
                _Batch(*(column[:, i * size : (i + 1) * size] for column in columns)) for i in range(number)
            )

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """Return tensors (N, D) of each agent as one (S, N, D), observations padded with zeros."""
        if len({part.shape[-1] for part in parts}) == 1:
            return torch.stack(parts)
        joined = parts[0].new_zeros(len(parts), len(parts[0]), self._input_dim)
        for target, part in zip(joined, parts):
            target[:, : part.shape[-1]] = part
        return joined

    def _update(self, batch: _Batch, noise: Tensor) -> Tensor:
        """Update the critics, and with every second one the actor and the targets; return the critic loss."""
        algorithm, stacked = self._first, len(self.agents)
        self._updates += 1
        with torch.no_grad():
            clipped = noise.clamp(-algorithm.target_noise_clip, algorithm.target_noise_clip)
            features = self.actor_target_features(batch.next_observation)
            action = (self.actor_target(features) + clipped).clamp_(-1, 1)
            features = self.critic_target_features(batch.next_observation)
            value = self._values(self.critic_target, features, action).min(0).values  # (S, B, 1)
            target = batch.reward + (1 - batch.terminated) * algorithm.gamma * value
        features = self.critic_features(batch.observation)
        values = self._values(self.critic, features, batch.action)  # (C, S, B, 1)
        critic_loss = (values - target).square().mean((2, 3)).sum()
        self._critic_adam.step(critic_loss)
        if self._updates % algorithm.policy_delay == 0:
            action = self.actor(self.actor_features(batch.observation))
            first = [parameter.detach()[:stacked] for parameter in self.critic.parameters]
            with torch.no_grad():
                features = self.critic_features(batch.observation)
            value = self.critic(torch.cat([features, action], -1), first)  # (S, B, 1)
            cloning = float(getattr(algorithm.critic, "behavior_cloning", 0.0))
            if cloning:
                scale = cloning / value.abs().mean((1, 2), keepdim=True).detach()
                value = scale * value - (action - batch.action).square().mean(2, keepdim=True)
            self._actor_adam.step(-value.mean((1, 2)).sum())
            targets = [*self.critic_target_features.stacks, self.critic_target]
            targets += [*self.actor_target_features.stacks, self.actor_target]
            stacks = [*self.critic_features.stacks, self.critic, *self.actor_features.stacks, self.actor]
            update_targets(targets, stacks, algorithm.tau)
        return critic_loss

    def _values(self, critic: StackedMLP, features: Tensor, action: Tensor) -> Tensor:
        """Return the values (C, S, B, 1) of all critics."""
        inputs = torch.cat([features, action], -1).repeat(self._critics, 1, 1)  # (C S, B, F + A)
        return critic(inputs).unflatten(0, (self._critics, len(self.agents)))


def train_stacked(agents: Sequence[Any], updates: int, progress: ProgressReporter | None = None) -> None:
    """Let several `OfflineTd3Agent`s learn offline at once, as each `learn_offline(updates)` would alone.

    Args:
        agents: Agents with equal settings and hidden layers; seeds, streams, tasks and observations may differ.
        updates: Updates of each agent.
        progress: Receives the updates of all agents.

    Raises:
        UsageError: They cannot be stacked.
    """
    _check_equal(agents)
    for agent in agents:
        agent.pretrain_critic()
    StackedTD3(agents).train(updates, progress)


def train_together(agents: Sequence[Any], updates: int, progress: ProgressReporter | None = None) -> None:
    """Let any `OfflineTd3Agent`s learn offline: those that can be stacked in stacks, the others one after the other.

    Args:
        agents: Agents with a recorded stream each.
        updates: Updates of each agent. Calling it for N and then for M updates equals N + M.
        progress: Receives the updates of all agents.
    """
    groups: dict[Hashable, list[Any]] = {}
    for agent in agents:
        groups.setdefault(_shape(agent), []).append(agent)
    for key, group in groups.items():
        if key is None or len(group) == 1:
            for agent in group:
                agent.learn_offline(updates, progress)
        else:
            train_stacked(group, updates, progress)


def _shape(agent: Any) -> Hashable:
    """Return what agents of a stack have in common; None for an agent that cannot be stacked."""
    algorithm = agent.algorithm
    extractor = algorithm.actor.features_extractor
    if agent.encoder.mode in TRAINED_ENCODERS or (
        list(extractor.parameters()) and not isinstance(extractor, PartExtractor)
    ):
        return None
    group = algorithm.actor.optimizer.param_groups[0]
    return (
        type(algorithm).__name__, type(extractor).__name__, str(algorithm.device), algorithm.action_space.shape,
        *(getattr(algorithm, name) for name in _EQUAL), *(group[name] for name in _EQUAL_ADAM),
        float(getattr(algorithm.critic, "behavior_cloning", 0.0)),
        *(_layers(network) for network in (algorithm.actor.mu, *algorithm.critic.q_networks)),
    )  # fmt: skip


def _layers(network: nn.Sequential) -> Hashable:
    """Return types and sizes of layers, without the number of inputs."""
    return tuple(
        (type(layer).__name__, *(tuple(p.shape)[:1] for p in layer.parameters())) for layer in network
    )


def _check_equal(agents: Sequence[Any]) -> None:
    """Raise UsageError unless the agents can be stacked."""
    if not agents:
        raise UsageError("stacked training: expected agents, got none")
    first = agents[0].algorithm
    for agent in agents:
        if agent.encoder.mode in TRAINED_ENCODERS:
            raise UsageError(
                f"stacked training: expected encoder none, random or frozen, got {agent.encoder.mode}"
            )
        algorithm = agent.algorithm
        for name in (*_EQUAL, "device"):
            if getattr(algorithm, name) != getattr(first, name):
                raise UsageError(
                    f"stacked training: expected agents with equal {name.strip('_')}, "
                    f"got {getattr(first, name)} and {getattr(algorithm, name)}"
                )
    if len({_shape(agent) for agent in agents}) > 1:
        raise UsageError(
            "stacked training: expected networks of equal shape and equal settings, got others; stack them apart"
        )
