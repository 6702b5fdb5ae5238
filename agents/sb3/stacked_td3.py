"""Stacked training: several offline TD3 agents of equal shape learn as one batched network.

The weights of all agents are stacked along a first axis, so one batched matrix product replaces one product for each
agent. Every agent keeps its own batches, noise and optimizer state, and gets the weights that it would learn alone,
within float rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter

_BLOCK = 50  # [updates] whose noise is drawn at once, so that the agents' random states are swapped rarely


class StackedMLP:
    """S MLPs of equal shape with stacked weights; layers are linear, layer norm, tanh and ReLU."""

    def __init__(self, networks: Sequence[nn.Sequential]) -> None:
        """Stack the weights of `networks`."""
        self.networks, self.layers = list(networks), list(networks[0])
        for layer in self.layers:
            if not isinstance(layer, (nn.Linear, nn.LayerNorm, nn.Tanh, nn.ReLU)):
                raise UsageError(
                    f"stacked training: expected linear, layer norm, tanh and ReLU, got {type(layer).__name__}"
                )
        parameters = zip(*(network.parameters() for network in networks))
        self.parameters = [torch.stack([p.detach() for p in each]).requires_grad_() for each in parameters]

    def __call__(self, x: Tensor, parameters: Sequence[Tensor] | None = None) -> Tensor:
        """Return the outputs (S, B, O) of inputs (S, B, I), with other stacked parameters if given."""
        rest = iter(self.parameters if parameters is None else parameters)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                weight, bias = next(rest), next(rest)  # (S, O, I), (S, O)
                x = torch.baddbmm(bias[:, None], x, weight.mT)
            elif isinstance(layer, nn.LayerNorm):
                weight, bias = next(rest), next(rest)  # (S, O)
                x = F.layer_norm(x, layer.normalized_shape, eps=layer.eps) * weight[:, None] + bias[:, None]
            else:
                x = layer(x)
        return x

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the stacked weights into the networks."""
        for index, network in enumerate(self.networks):
            for parameter, stacked in zip(network.parameters(), self.parameters):
                parameter.copy_(stacked[index])


class _Adam:
    """Adam over stacked parameters, with the settings and the state of the optimizers of the agents."""

    def __init__(self, stacks: StackedMLP, optimizers: Sequence[torch.optim.Optimizer], parts: int) -> None:
        """Stack the states of `optimizers`, of which each has the parameters of `parts` networks of `stacks`."""
        self._stacks, self._optimizers, self._parts = stacks, list(optimizers), parts
        group = optimizers[0].param_groups[0]
        self._adam = torch.optim.Adam(
            stacks.parameters, lr=group["lr"], betas=group["betas"], eps=group["eps"],
            weight_decay=group["weight_decay"], fused=stacks.parameters[0].device.type in ("cpu", "cuda"),
        )  # fmt: skip
        count = len(stacks.parameters)
        for number, parameter in enumerate(stacks.parameters):
            states = [self._states(optimizer)[part * count + number] for part, optimizer in self._order()]
            if any(states):
                steps = {float(state["step"]) for state in states if state}
                if len(steps) > 1 or not all(states):
                    raise UsageError("stacked training: expected agents after equally many updates")
                self._adam.state[parameter] = {
                    "step": torch.tensor(steps.pop()),
                    **{name: torch.stack([s[name] for s in states]) for name in ("exp_avg", "exp_avg_sq")},
                }

    def _order(self) -> list[tuple[int, torch.optim.Optimizer]]:
        """Return the part and the optimizer of each network of the stack."""
        return [(part, optimizer) for part in range(self._parts) for optimizer in self._optimizers]

    def _states(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        return [optimizer.state.get(p, {}) for p in optimizer.param_groups[0]["params"]]

    def step(self, loss: Tensor) -> None:
        """Update the parameters by the gradient of a loss, summed over the stack."""
        for parameter, gradient in zip(
            self._stacks.parameters, torch.autograd.grad(loss, self._stacks.parameters)
        ):
            parameter.grad = gradient.contiguous()  # the fused Adam reads the memory as it is
        self._adam.step()

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the states into the optimizers of the agents."""
        count = len(self._stacks.parameters)
        for index, (part, optimizer) in enumerate(self._order()):
            for number, stacked in enumerate(self._stacks.parameters):
                if stacked not in self._adam.state:
                    continue
                state = self._adam.state[stacked]
                target = optimizer.param_groups[0]["params"][part * count + number]
                optimizer.state[target] = {
                    "step": torch.tensor(float(state["step"])),
                    **{name: state[name][index].clone() for name in ("exp_avg", "exp_avg_sq")},
                }


class _Batch(NamedTuple):
    """One batch of each agent."""

    observation: Tensor  # (S, B, F)
    action: Tensor  # (S, B, A)
    next_observation: Tensor  # (S, B, F)
    terminated: Tensor  # (S, B, 1)
    reward: Tensor  # (S, B, 1)


class StackedTD3:
    """The update of TD3 for a stack of S agents."""

    def __init__(self, agents: Sequence[Any]) -> None:
        """Stack agents `OfflineTd3Agent` with equal networks and settings, and a recorded stream each.

        Raises:
            UsageError: If they are not equal in shape, settings or number of updates, or train an encoder.
        """
        _check_equal(agents)
        self.agents = list(agents)
        algorithms: list[Any] = [agent.algorithm for agent in agents]
        self._algorithms, self._first = algorithms, algorithms[0]
        self._critics = len(algorithms[0].critic.q_networks)
        self.actor = StackedMLP([a.actor.mu for a in algorithms])
        self.actor_target = StackedMLP([a.actor_target.mu for a in algorithms])
        critics = range(self._critics)
        self.critic = StackedMLP([a.critic.q_networks[i] for i in critics for a in algorithms])  # (C S, ...)
        self.critic_target = StackedMLP([a.critic_target.q_networks[i] for i in critics for a in algorithms])
        self._actor_adam = _Adam(self.actor, [a.actor.optimizer for a in algorithms], 1)
        self._critic_adam = _Adam(self.critic, [a.critic.optimizer for a in algorithms], self._critics)
        self._updates = int(algorithms[0]._n_updates)

    def train(self, updates: int, progress: ProgressReporter | None = None) -> None:
        """Run `updates` updates of every agent, and write weights and optimizer states into the agents."""
        progress = progress or NullProgress()
        for start in range(0, updates, _BLOCK):
            count = min(_BLOCK, updates - start)
            noise = [self._draw_noise(agent, count) for agent in self.agents]
            for update in range(count):
                loss = self._update(self._sample(), torch.stack([each[update] for each in noise]))
            progress.update(count * len(self.agents), critic_loss=float(loss.detach()) / len(self.agents))
        for part in (self.actor, self.actor_target, self.critic, self.critic_target):
            part.write_back()
        self._actor_adam.write_back()
        self._critic_adam.write_back()
        for algorithm in self._algorithms:
            algorithm._n_updates = self._updates

    def _draw_noise(self, agent: Any, count: int) -> list[Tensor]:
        """Return `count` times the noise (B, A) of the target actions, drawn as SB3 draws it."""
        algorithm = agent.algorithm
        shape = (algorithm.batch_size, *algorithm.action_space.shape)
        with agent._randomness.active():
            return [
                torch.empty(shape, device=algorithm.device).normal_(0, algorithm.target_policy_noise)
                for _ in range(count)
            ]

    def _sample(self) -> _Batch:
        """Return a batch of the recorded stream of each agent."""
        batches = [a.offline_buffer.recorded.sample(a.algorithm.batch_size) for a in self.agents]
        columns = [torch.stack(list(each)) for each in zip(*(batch[:5] for batch in batches))]
        return _Batch(*columns)

    def _update(self, batch: _Batch, noise: Tensor) -> Tensor:
        """Update the critics, and with every second one the actor and the targets; return the critic loss."""
        algorithm, stacked = self._first, len(self.agents)
        self._updates += 1
        with torch.no_grad():
            clipped = noise.clamp(-algorithm.target_noise_clip, algorithm.target_noise_clip)
            action = (self.actor_target(batch.next_observation) + clipped).clamp(-1, 1)
            value = (
                self._values(self.critic_target, batch.next_observation, action).min(0).values
            )  # (S, B, 1)
            target = batch.reward + (1 - batch.terminated) * algorithm.gamma * value
        values = self._values(self.critic, batch.observation, batch.action)  # (C, S, B, 1)
        critic_loss = (values - target).square().mean((2, 3)).sum()
        self._critic_adam.step(critic_loss)
        if self._updates % algorithm.policy_delay == 0:
            action = self.actor(batch.observation)
            first = [parameter.detach()[:stacked] for parameter in self.critic.parameters]
            value = self.critic(torch.cat([batch.observation, action], -1), first)  # (S, B, 1)
            cloning = float(getattr(algorithm.critic, "behavior_cloning", 0.0))
            if cloning:
                scale = cloning / value.abs().mean((1, 2), keepdim=True).detach()
                value = scale * value - (action - batch.action).square().mean(2, keepdim=True)
            self._actor_adam.step(-value.mean((1, 2)).sum())
            with torch.no_grad():
                for target_stack, stack in (
                    (self.critic_target, self.critic),
                    (self.actor_target, self.actor),
                ):
                    for old, new in zip(target_stack.parameters, stack.parameters):
                        old.lerp_(new, algorithm.tau)
        return critic_loss

    def _values(self, critic: StackedMLP, observation: Tensor, action: Tensor) -> Tensor:
        """Return the values (C, S, B, 1) of all critics."""
        inputs = torch.cat([observation, action], -1).repeat(self._critics, 1, 1)  # (C S, B, F + A)
        return critic(inputs).unflatten(0, (self._critics, len(self.agents)))


def train_stacked(agents: Sequence[Any], updates: int, progress: ProgressReporter | None = None) -> None:
    """Let several `OfflineTd3Agent`s learn offline at once, as each `learn_offline(updates)` would alone.

    Args:
        agents: Agents with equal networks and settings; seeds, streams, tasks and observations may differ.
        updates: Updates of each agent.
        progress: Receives the updates of all agents.
    """
    for agent in agents:
        agent.pretrain_critic()
    StackedTD3(agents).train(updates, progress)


_EQUAL = (
    "batch_size", "gamma", "tau", "policy_delay", "target_policy_noise", "target_noise_clip", "_n_updates", "device",
)  # fmt: skip


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
        for name in _EQUAL:
            if getattr(algorithm, name) != getattr(first, name):
                raise UsageError(
                    f"stacked training: expected agents with equal {name.strip('_')}, "
                    f"got {getattr(first, name)} and {getattr(algorithm, name)}"
                )
        shapes = [[tuple(p.shape) for p in each.policy.parameters()] for each in (first, algorithm)]
        if shapes[0] != shapes[1]:
            raise UsageError(
                "stacked training: expected networks of equal shape, got others; stack them apart"
            )
