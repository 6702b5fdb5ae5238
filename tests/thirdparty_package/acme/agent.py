"""An agent with its own training loop: REINFORCE with a small network (Williams, 1992)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from robossl.core.io import load_tree, read_json, save_tree, write_json
from robossl.core.spaces import flatten_by_path
from robossl.rollout import StepLoop
from robossl.world_model import WorldModel


class ReinforceAgent:
    """One gradient step for each finished episode, on its returns to go; Box and Discrete actions."""

    def __init__(
        self, envs, representation=None, seed=0, device="auto", hidden=32, learning_rate=0.01, discount=0.97
    ):
        self.settings = {"hidden": hidden, "learning_rate": learning_rate, "discount": discount}
        self.representation, self.seed, self.space = representation, seed, envs.single_action_space
        self.loop = StepLoop(envs, seed)
        self.random = torch.Generator().manual_seed(seed)
        self.discrete = isinstance(self.space, gym.spaces.Discrete)
        outputs = int(self.space.n) if self.discrete else int(np.prod(self.space.shape))
        space = envs.single_observation_space
        inputs = representation.latent_dim if representation else gym.spaces.flatdim(space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = torch.nn.Sequential(
                torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, outputs)
            )
        self.optimizer = torch.optim.SGD(self.network.parameters(), learning_rate)
        self.episodes: list[list[list]] = [
            [] for _ in range(envs.num_envs)
        ]  # [features, sample, reward] of each step
        self.last: tuple[torch.Tensor, torch.Tensor] | None = None

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A)."""
        if self.representation:
            features = np.asarray(self.representation.encode(observation))
        else:
            parts = flatten_by_path(self.loop.envs.single_observation_space, observation).values()
            features = np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], axis=1)
        inputs = torch.as_tensor(features, dtype=torch.float32)
        with torch.no_grad():
            outputs = self.network(inputs)
        if self.discrete:
            sample = outputs.argmax(1)
            if explore:
                sample = torch.multinomial(outputs.softmax(1), 1, generator=self.random)[:, 0]
            self.last = (inputs, sample)
            return sample.numpy() + int(self.space.start)
        noise = torch.randn(outputs.shape, generator=self.random) if explore else torch.zeros_like(outputs)
        sample = outputs + 0.3 * noise
        self.last = (inputs, sample)
        middle, half = (self.space.high + self.space.low) / 2, (self.space.high - self.space.low) / 2
        action = middle + half * sample.numpy().reshape(-1, *self.space.shape)
        return np.clip(action, self.space.low, self.space.high).astype(self.space.dtype)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes; the policy has no memory."""

    def learn(self, envs, steps, progress=None, logger=None) -> None:
        """Act for `steps` environment steps and learn from every finished episode."""
        for step in self.loop.steps(self, steps, progress):
            inputs, sample = self.last
            for i in np.flatnonzero(step.real):
                self.episodes[i].append([inputs[i], sample[i], float(step.reward[i])])
            for i in np.flatnonzero(step.done):
                loss = self._update(self.episodes[i])
                self.episodes[i] = []
                if logger:
                    logger.scalars(self.loop.num_steps, {"agent/policy_loss": loss})

    def _update(self, episode: list[list]) -> float:
        rewards, returns, total = [row[2] for row in episode], [], 0.0
        for reward in reversed(rewards):
            total = reward + self.settings["discount"] * total
            returns.insert(0, total)
        advantage = torch.tensor(returns)
        advantage = (
            (advantage - advantage.mean()) / (advantage.std() + 1e-6) if len(returns) > 1 else advantage
        )
        outputs = self.network(torch.stack([row[0] for row in episode]))
        samples = torch.stack([row[1] for row in episode])
        if self.discrete:
            log_probability = outputs.log_softmax(1).gather(1, samples[:, None])[:, 0]
        else:
            log_probability = -((samples - outputs) ** 2).sum(1) / (2 * 0.3**2)
        loss = -(advantage * log_probability).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def set_representation(self, representation) -> None:
        """Use a newer version of the encoder; running episodes keep the features of the old one."""
        self.representation = representation if self.representation else None

    def reset_envs(self, envs) -> None:
        """Reset the envs before the next step."""
        self.loop.reset_envs()
        self.episodes = [[] for _ in self.episodes]

    def _weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy().copy() for name, value in self.network.state_dict().items()}

    def _set_weights(self, weights: dict[str, np.ndarray]) -> None:
        self.network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})

    def get_checkpoint(self) -> dict[str, Any]:
        """Return weights, random state, running episodes and the position in the envs."""
        episodes = [
            [[row[0].numpy(), row[1].numpy(), row[2]] for row in episode] for episode in self.episodes
        ]
        random = self.random.get_state().numpy().copy()
        return {
            "weights": self._weights(),
            "random": random,
            "episodes": episodes,
            "loop": self.loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self._set_weights(tree["weights"])
        self.random.set_state(torch.tensor(tree["random"]))
        self.episodes = [
            [[torch.tensor(row[0]), torch.tensor(row[1]), float(row[2])] for row in episode]
            for episode in tree["episodes"]
        ]
        self.loop.set_checkpoint(tree["loop"])

    def save(self, folder) -> None:
        """Write settings, weights and encoder."""
        write_json(Path(folder) / "reinforce.json", {"seed": self.seed, **self.settings})
        save_tree(Path(folder) / "reinforce.safetensors", self._weights())
        if self.representation:
            self.representation.save(Path(folder) / "representation")

    @classmethod
    def load(cls, folder, envs, device="auto") -> ReinforceAgent:
        """Return the agent that `save` wrote."""
        encoder = Path(folder) / "representation"
        representation = WorldModel.load(encoder, device).frozen_copy() if encoder.is_dir() else None
        agent = cls(envs, representation, **read_json(Path(folder) / "reinforce.json"))
        agent._set_weights(load_tree(Path(folder) / "reinforce.safetensors"))
        return agent
