"""An agent of your own in one file, with its own training loop: the cross-entropy method (CEM) over linear policies.

Run it with `python examples/custom_agent.py`; it takes some seconds on a CPU. A package offers the same agent through
the entry-point group `robossl.agents`; then `robossl learn --agent.name cem --agent.settings.population 32` works, and
`robossl check-agent cem` checks it.
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
from robossl.training.config import AgentConfig, EvaluateConfig, ExploreConfig, PretrainConfig
from robossl.world_model import WorldModel

ENV = "robossl/CheetahRun-v0"


class CemAgent:
    """Linear policy `action = W [features, 1]`; CEM refits the distribution of W to the best episodes (elites).

    Every sub-environment runs one sampled W per episode. Source: Szita and Loerincz, "Learning Tetris Using the Noisy
    Cross-Entropy Method", 2006.
    """

    def __init__(
        self,
        envs,
        representation=None,
        seed=0,
        device="auto",
        population=32,
        num_elites=8,
        init_std=1.0,
        noise=0.05,
    ):
        """Create an agent for `envs`; `population` episodes make one update, of which `num_elites` are kept."""
        if not isinstance(envs.single_action_space, gym.spaces.Box):
            raise UsageError(f"cem needs continuous actions, got {envs.single_action_space}; use dqn or ppo")
        self.settings = {
            "population": population, "num_elites": num_elites, "init_std": init_std, "noise": noise
        }  # fmt: skip
        self.representation, self.seed, self.space = representation, seed, envs.single_action_space
        self.loop, self.random = StepLoop(envs, seed), generator(seed, "cem")
        space = envs.single_observation_space
        features = representation.latent_dim if representation else gym.spaces.flatdim(space)
        shape = (int(np.prod(self.space.shape)), features + 1)
        self.mean, self.std = np.zeros(shape), np.full(shape, float(init_std))
        self.weights = self._sample(envs.num_envs)  # (n, A, F + 1), one policy for each sub-environment
        self.returns = np.zeros(envs.num_envs)  # (n,) of the running episodes
        self.episodes = np.zeros(
            (0, 1 + self.mean.size)
        )  # (E, 1 + W): return and weights of finished episodes

    def _sample(self, count):
        return self.mean + self.std * self.random.standard_normal((count, *self.mean.shape))

    def act(self, observation, explore=True):
        """Return actions (n, *A): those of the sampled policies, or without exploration those of the mean policy."""
        if self.representation:
            features = np.asarray(self.representation.encode(observation))
        else:
            parts = flatten_by_path(self.loop.envs.single_observation_space, observation).values()
            features = np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], axis=1)
        features = np.concatenate([features, np.ones((len(features), 1))], axis=1)  # (n, F + 1)
        weights = self.weights if explore else self.mean[None]
        action = (weights @ features[:, :, None]).reshape(len(features), *self.space.shape)
        return np.clip(action, self.space.low, self.space.high).astype(self.space.dtype)

    def reset(self, mask=None):
        """Start new episodes; the policy has no memory."""

    def learn(self, envs, steps, progress=None, logger=None):
        """Act for `steps` environment steps; update the distribution whenever `population` episodes have ended."""
        for step in self.loop.steps(self, steps, progress):
            self.returns += step.reward * step.real
            for i in np.flatnonzero(step.done):
                self.episodes = np.vstack([self.episodes, [self.returns[i], *self.weights[i].ravel()]])
                self.returns[i], self.weights[i] = 0.0, self._sample(1)[0]
            if len(self.episodes) >= self.settings["population"]:
                self._update()
                if logger:
                    logger.scalars(self.loop.num_steps, {"agent/std": float(self.std.mean())})

    def _update(self):
        best = np.argsort(self.episodes[:, 0])[-self.settings["num_elites"] :]
        elites = self.episodes[best, 1:].reshape(-1, *self.mean.shape)
        self.mean, self.std = elites.mean(0), elites.std(0) + self.settings["noise"]
        self.episodes = self.episodes[:0]

    def set_representation(self, representation):
        """Use a newer version of the encoder."""
        self.representation = representation if self.representation else None

    def reset_envs(self, envs):
        """Reset the envs before the next step."""
        self.loop.reset_envs()
        self.returns[:] = 0.0

    def get_checkpoint(self):
        """Return everything that determines future actions and updates."""
        arrays = {
            name: getattr(self, name).copy() for name in ("mean", "std", "weights", "returns", "episodes")
        }
        return {**arrays, "random": generator_state(self.random), "loop": self.loop.get_checkpoint()}

    def set_checkpoint(self, tree):
        """Continue from `get_checkpoint`."""
        for name in ("mean", "std", "weights", "returns", "episodes"):
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
    """Train the agent, load and evaluate it, then run it in `learn` on the latent of a world model."""
    with tempfile.TemporaryDirectory() as folder:
        agent_folder = Path(folder) / "agent"
        agent = robossl.train(
            ENV, "cem", steps=40_000, num_envs=16, out=agent_folder, settings={"num_elites": 4}
        )
        envs = robossl.make(ENV, num_envs=8)
        for name, policy in (
            ("untrained", CemAgent(envs)),
            ("trained", agent),
            ("loaded", load(agent_folder, envs)),
        ):
            print(f"{name} agent: return {evaluate_returns(envs, policy, episodes=8).returns.mean():.1f}")
        envs.close()

        small = robossl.WorldModelConfig(
            latent_dim=8, encoder_hidden=(32,), dynamics_hidden=(32,), inverse_hidden=(32,), decoder_hidden=(32,),
            ensemble_size=2, batch_size=64,
        )  # fmt: skip
        config = robossl.LearnConfig(
            env=ENV,
            steps=8_000,
            explore=ExploreConfig(num_envs=16),
            pretrain=PretrainConfig(updates=50, updates_per_iteration=10),
            world_model=small,
            agent=AgentConfig(name="cem", num_iterations=1, settings={"population": 4, "num_elites": 2}),
            evaluate=EvaluateConfig(episodes=4, curve_episodes=2, videos=False),
        )
        report = robossl.learn(config, out=Path(folder) / "run")
        for name, row in report["control"]["rows"].items():
            print(f"learn, {name}: return {row['return']['mean']:.1f}")


if __name__ == "__main__":
    main()
