"""A point with random starts and goals whose state can be set, and models of it with known worth."""

from __future__ import annotations

import numpy as np
from evaluation_envs import PointGoal

from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.baselines import baseline_config

LIMIT = 30  # [steps]
CONFIG = WorldModelConfig(
    latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,), inverse_hidden=(16,), decoder_hidden=(16,),
    ensemble_size=2,
)  # fmt: skip


class RandomPointGoal(PointGoal):
    """The point with random starts and goals; the reward is the negative distance [m]."""

    def __init__(self, num_envs: int = 16, **settings):
        super().__init__(num_envs, limit=LIMIT)
        self.random = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        super().reset()
        self.position[:], self.goal[:] = self.random.uniform(-1, 1, (2, self.num_envs, 2))
        return self.observe(), {"is_success": self.is_success()}

    def step(self, actions):
        ended = self.ended.copy()
        observation, _, terminated, truncated, infos = super().step(actions)
        if ended.any():
            self.position[ended], self.goal[ended] = self.random.uniform(-1, 1, (2, int(ended.sum()), 2))
            observation, infos = self.observe(), {"is_success": self.is_success()}
        return observation, -np.linalg.norm(self.position - self.goal, axis=1), terminated, truncated, infos

    def privileged_state(self):
        return {"position": self.position.copy()}

    def get_physics_state(self):
        return self.position.copy()

    def goal_observation(self, goal):
        """Return the observation at a goal."""
        return np.asarray(goal, np.float32)


def make_envs(num_envs: int, threads: int = 1, **settings) -> RandomPointGoal:
    return RandomPointGoal(num_envs)


def model(name: str) -> WorldModel:
    """Return an untrained baseline."""
    envs = RandomPointGoal(1)
    config = baseline_config(name, CONFIG, envs.single_observation_space)
    return WorldModel(config, envs.single_observation_space, envs.single_action_space).frozen_copy()
