"""Latents as observations for another RL library: a pretrained encoder under SB3's own PPO, without robossl's loop.

Run it with `python examples/representation_wrapper.py`; it takes some seconds on a CPU.
`RepresentationVectorWrapper` is the same for a vector env, as CleanRL and TorchRL use it.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

import robossl

ENV, STEPS = "robossl/Reacher-v0", 1024


def main() -> None:
    """Train PPO for a moment on latents, and print what it observes."""
    model = robossl.from_pretrained("reacher")
    env = robossl.RepresentationWrapper(gym.make(ENV), model)
    agent = PPO("MlpPolicy", env, n_steps=256, batch_size=64, n_epochs=2, seed=0, device="cpu")
    agent.set_logger(Logger(None, []))  # without one, SB3 makes a folder for its log
    agent.learn(STEPS)
    print(f"PPO took {agent.num_timesteps} steps on {env.observation_space.shape[0]} numbers: the latent of "
          f"{model.latent_dim}, the observation and the goals")  # fmt: skip
    envs = robossl.RepresentationVectorWrapper(robossl.make(ENV, num_envs=8), model)
    features, _ = envs.reset(seed=0)
    print(f"a batch of 8: {features.shape}, actions of PPO {np.round(agent.predict(features)[0][0], 2)}")
    env.close()
    envs.close()


if __name__ == "__main__":
    main()
