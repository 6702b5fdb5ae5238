"""An encoder of your own in a world model: a frozen convolutional network, as a pretrained vision network would be.

Run it with `python examples/custom_encoder.py`; it takes about ten seconds on a CPU. Any `torch.nn.Module` works:
`robossl/world_model/custom_encoder.py` documents its input and output. Replace `vision_network` by a pretrained one,
and set `image_size` to the size that it expects.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import nn

import robossl


class Ball(gym.Env):
    """A bright ball on a dark image of 48 x 48 pixels; the action moves it."""

    observation_space = gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(10, 38, 2)
        return self.image(), {}

    def step(self, action):
        self.position = np.clip(self.position + 4 * np.clip(action, -1, 1), 6, 42)
        return self.image(), 0.0, False, False, {}

    def image(self) -> np.ndarray:
        rows, columns = np.ogrid[:48, :48]
        inside = (rows - self.position[0]) ** 2 + (columns - self.position[1]) ** 2 < 25
        return np.repeat(np.where(inside, 255, 20).astype(np.uint8)[..., None], 3, -1)


def vision_network() -> nn.Module:
    """Return a frozen network: images (B, 3, H, W) in [0, 1] -> features (B, 400)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
    )
    return network.requires_grad_(False)


def main() -> None:
    """Train a world model on top of the frozen network, load it again, and print how well it infers actions."""
    config = robossl.WorldModelConfig(
        image_size=48,
        latent_dim=32,
        dynamics_hidden=(64,),
        inverse_hidden=(64,),
        ensemble_size=2,
        batch_size=32,
        unroll_steps=1,
        objectives=("forward", "inverse:10"),
    )
    with tempfile.TemporaryDirectory() as folder:
        envs = gym.vector.SyncVectorEnv([lambda: gym.wrappers.TimeLimit(Ball(), 50) for _ in range(8)])
        stream = robossl.collect(envs, "random", steps=3_000, out=Path(folder) / "stream")
        out = Path(folder) / "model"
        robossl.pretrain(stream, updates=120, config=config, out=out, encoder=vision_network())
        model = robossl.WorldModel.load(out, encoder=vision_network())
        observation, _ = envs.reset(seed=0)
        actions = envs.action_space.sample()
        next_observation, *_ = envs.step(actions)
        z, next_z = model.encode(observation), model.encode(next_observation, observation)
        error = np.abs(model.infer_action(z, next_z) - actions).mean()
        envs.close()
    print(f"mean error of the inferred action: {error:.2f} (random guess: 0.67)")


if __name__ == "__main__":
    main()
