"""Encoders under reinforcement learning: SAC with each encoder mode, for a few hundred steps.

Run it with `python examples/encoder_under_rl.py`; it takes some seconds on a CPU. The budget is far too small for good
returns: the table shows what each mode does to the encoder. Use the modes with `robossl train --encoder finetune` and
`robossl learn --agent.encoder scratch`; docs/agents.md describes them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import robossl
from robossl.evaluation.control import evaluate_returns
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig

ENV = "robossl/Reacher-v0"
STEPS = 400
SETTINGS = {
    "learning_starts": 100,
    "updates_per_step": 0.5,
    "batch_size": 64,
    "policy_kwargs": {"net_arch": [64, 64]},
}
FINETUNE = {"encoder_frozen_updates": 50, "encoder_slow_updates": 100}  # the defaults are 1,000 and 5,000


def pretrain(folder: Path) -> WorldModel:
    """Return a small world model, trained without reward on random exploration."""
    stream: Stream = robossl.collect(ENV, steps=3000, num_envs=8, out=folder / "stream", threads=1)
    config = WorldModelConfig(latent_dim=16, encoder_hidden=(64,), dynamics_hidden=(64,), ensemble_size=2)
    return robossl.pretrain(stream, updates=100, config=config, out=folder / "model", device="cpu", threads=1)


def encoder_change(agent: robossl.Agent, model: WorldModel) -> str:
    """Return how far training moved the encoder of the critic, relative to the weights of the world model."""
    extractor = agent.algorithm.critic.features_extractor
    if not hasattr(extractor, "encoder"):
        return "not trained"
    with torch.no_grad():
        trained = torch.nn.utils.parameters_to_vector(extractor.encoder.parameters())
        initial = torch.nn.utils.parameters_to_vector(model.encoder.parameters())
        return f"{float((trained - initial).norm() / initial.norm()):.3f}"


def main() -> None:
    """Train SAC with each encoder mode and print a table."""
    torch.set_num_threads(1)  # networks this small are slower with more
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = pretrain(folder)
        envs = robossl.make(ENV, num_envs=8, threads=1)
        print(f"{'encoder':<10} {'inputs':>6} {'distance from the world model':>30} {'return':>7}")
        for mode in ("none", "random", "frozen", "finetune", "cotrain", "scratch"):
            agent = robossl.train(
                ENV,
                "sac",
                representation=None if mode == "none" else model,
                encoder=mode,
                steps=STEPS,
                num_envs=4,
                threads=1,
                out=folder / mode,
                device="cpu",
                settings=SETTINGS | (FINETUNE if mode in ("finetune", "cotrain") else {}),
                stream=folder / "stream" if mode == "cotrain" else None,
            )
            inputs = agent.algorithm.critic.features_extractor.features_dim
            score = evaluate_returns(envs, agent, episodes=8, seed=1).returns.mean()
            print(f"{mode:<10} {inputs:>6} {encoder_change(agent, model):>30} {score:>7.1f}")
        envs.close()


if __name__ == "__main__":
    main()
