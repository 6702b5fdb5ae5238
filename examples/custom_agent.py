"""An agent of your own in one file, with its own training loop: the cross-entropy method (CEM) over linear policies.

Run it with `python examples/custom_agent.py`; it takes some seconds on a CPU. A package offers the same agent through
the entry-point group `robossl.agents`; then `robossl learn --agent.name cem --agent.settings.population 32` works, with
resume and report, and `robossl check-agent cem` checks it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.io import load_tree, read_json, save_tree, write_json
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import flatten_by_path
from robossl.evaluation.control import evaluate_returns
from robossl.rollout import StepLoop
from robossl.training.agent_loading import load
from robossl.world_model import WorldModel

ENV = "robossl/CheetahRun-v0"


class CemAgent:
    """Linear policy `action = W [features, 1]`; CEM refits the distribution of W to the best episodes (elites).

    Every sub-environment runs one sampled W per episode. Source: Szita and Loerincz, "Learning Tetris Using the Noisy
    Cross-Entropy Method", 2006.
    """

    _STATE = ("mean", "std", "weights", "returns", "finished_weights", "finished_returns")

    def __init__(
        self, envs, representation=None, seed=0, device="auto", population=32, num_elites=8, noise=0.05
    ):
        """Create an agent for `envs`.

        `population` finished episodes make one update: the best `num_elites` set mean and standard deviation of W;
        `noise` is added to the latter.
        """
        space = envs.single_action_space
        if not isinstance(space, gym.spaces.Box):
            raise UsageError(f"cem needs continuous actions, got {space}; use dqn or ppo")
        self.settings = {"population": population, "num_elites": num_elites, "noise": noise}
        self.envs, self.representation, self.seed = envs, representation, seed
        self.loop, self.random = StepLoop(envs, seed), generator(seed, "cem")
        observation_dim = gym.spaces.flatdim(envs.single_observation_space)
        num_features = representation.latent_dim if representation else observation_dim
        self.mean = np.zeros((gym.spaces.flatdim(space), num_features + 1))  # (A, F + 1) of W
        self.std = np.ones_like(self.mean)
        self.weights = self._sample(envs.num_envs)  # (n, A, F + 1) of the running episodes
        self.returns = np.zeros(envs.num_envs)  # (n,) so far
        # of the episodes that finished since the last update
        self.finished_weights, self.finished_returns = self.weights[:0], self.returns[:0]

    def _sample(self, count):
        return self.mean + self.std * self.random.standard_normal((count, *self.mean.shape))

    def act(self, observation, explore=True):
        """Return actions (n, *A): those of the sampled policies, or without exploration those of the mean policy."""
        if self.representation:
            parts = [np.asarray(self.representation.encode(observation))]
        else:
            parts = flatten_by_path(self.envs.single_observation_space, observation).values()
        columns = [np.reshape(part, (len(part), -1)) for part in parts]
        features = np.concatenate([*columns, np.ones_like(columns[0][:, :1])], axis=1)  # (n, F + 1)
        weights, space = self.weights if explore else self.mean, self.envs.single_action_space
        action = (weights @ features[:, :, None]).reshape(-1, *space.shape)
        return np.clip(action, space.low, space.high).astype(space.dtype)

    def reset(self, mask=None):
        """Start new episodes; the policy has no memory."""

    def learn(self, envs, steps, progress=None, logger=None):
        """Act for `steps` environment steps; update the distribution whenever `population` episodes have ended."""
        for step in self.loop.steps(self, steps, progress):
            self.returns += step.reward * step.real
            self.finished_weights = np.concatenate([self.finished_weights, self.weights[step.done]])
            self.finished_returns = np.concatenate([self.finished_returns, self.returns[step.done]])
            self.weights[step.done], self.returns[step.done] = self._sample(step.done.sum()), 0.0
            if len(self.finished_returns) >= self.settings["population"]:
                self._update()
                if logger:
                    logger.scalars(self.loop.num_steps, {"agent/std": float(self.std.mean())})

    def _update(self):
        elites = self.finished_weights[np.argsort(self.finished_returns)[-self.settings["num_elites"] :]]
        self.mean, self.std = elites.mean(0), elites.std(0) + self.settings["noise"]
        self.finished_weights, self.finished_returns = self.finished_weights[:0], self.finished_returns[:0]

    def set_representation(self, representation):
        """Use a newer version of the encoder."""
        self.representation = representation if self.representation else None

    def reset_envs(self, envs):
        """Reset the envs before the next step."""
        self.loop.reset_envs()
        self.returns[:] = 0.0

    def get_checkpoint(self):
        """Return everything that determines future actions and updates."""
        arrays = {name: getattr(self, name).copy() for name in self._STATE}
        return {**arrays, "random": generator_state(self.random), "loop": self.loop.get_checkpoint()}

    def set_checkpoint(self, tree):
        """Continue from `get_checkpoint`."""
        for name in self._STATE:
            setattr(self, name, np.array(tree[name]))
        restore_generator(self.random, tree["random"])
        self.loop.set_checkpoint(tree["loop"])

    def save(self, folder):
        """Write the settings, the policy and the encoder."""
        write_json(Path(folder) / "cem.json", {"seed": self.seed, **self.settings})
        save_tree(Path(folder) / "cem.safetensors", {"mean": self.mean, "std": self.std})
        if self.representation:
            self.representation.save(Path(folder) / "representation")

    @classmethod
    def load(cls, folder, envs, device="auto"):
        """Return the agent that `save` wrote."""
        encoder = Path(folder) / "representation"
        representation = WorldModel.load(encoder, device).frozen_copy() if encoder.is_dir() else None
        agent = cls(envs, representation, **read_json(Path(folder) / "cem.json"))
        policy = load_tree(Path(folder) / "cem.safetensors")
        agent.mean, agent.std = np.array(policy["mean"]), np.array(policy["std"])
        agent.weights = agent._sample(envs.num_envs)
        return agent


registry.register("agents", "cem", CemAgent)


def main() -> None:
    """Train the agent and load it from its folder; print the returns before and after training."""
    with tempfile.TemporaryDirectory() as folder:
        agent = robossl.train(ENV, "cem", steps=40_000, num_envs=16, out=folder, settings={"num_elites": 4})
        envs = robossl.make(ENV, num_envs=8)
        policies = {"untrained": CemAgent(envs), "trained": agent, "loaded": load(folder, envs)}
        for name, policy in policies.items():
            print(f"{name} agent: return {evaluate_returns(envs, policy, episodes=8).returns.mean():.1f}")
        envs.close()


if __name__ == "__main__":
    main()
