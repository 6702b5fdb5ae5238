"""An objective of your own in one file: the latent changes slowly from one time step to the next.

Run it with `python examples/custom_objective.py`; it takes a few seconds on a CPU. A package offers the same objective
through the entry-point group `robossl.objectives`; then `--world_model.objectives forward,inverse,slowness` works.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import torch

import robossl
from robossl import registry
from robossl.world_model.encoded_batch import EncodedBatch, masked_mean
from robossl.world_model.objective import Objective


def slowness(batch: EncodedBatch) -> torch.Tensor:
    """Return the mean squared change of z between consecutive steps of a window (slow feature analysis).

    `batch.z` is (B, T + 1, Z), `batch.mask` (B, T) is true where a step lies within an episode.
    """
    change = (batch.z[:, 1:] - batch.z[:, :-1]).square().mean(-1)  # (B, T)
    return masked_mean(change, batch.mask)


registry.register("objectives", "slowness", Objective(slowness, weight=0.1))


def main() -> None:
    """Train a small world model with and without the objective and print how fast its latents change."""
    small = robossl.WorldModelConfig(
        latent_dim=16, encoder_hidden=(64,), dynamics_hidden=(64,), ensemble_size=2, batch_size=64
    )
    with tempfile.TemporaryDirectory() as folder:
        envs = gym.make_vec("robossl/CartPoleSwingUp-v0", num_envs=16)
        stream = robossl.collect(envs, steps=4_000, out=Path(folder) / "stream")
        for objectives in (("forward", "inverse"), ("forward", "inverse", "slowness")):
            config = replace(small, objectives=objectives)
            model = robossl.pretrain(stream, updates=150, config=config, out=Path(folder) / objectives[-1])
            observation, _ = envs.reset(seed=1)
            z = model.encode(observation)
            z_next = model.encode(envs.step(envs.action_space.sample())[0])
            print(f"{' + '.join(objectives)}: mean squared change of z {((z_next - z) ** 2).mean():.4f}")
        envs.close()


if __name__ == "__main__":
    main()
