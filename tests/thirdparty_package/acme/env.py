"""An env: a point on a line that should reach the origin."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Point(gym.Env):
    """Observes position and velocity; the action is an acceleration."""

    observation_space = gym.spaces.Box(-5.0, 5.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self.state.astype(np.float32), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple:
        velocity = 0.8 * self.state[1] + 0.2 * float(action[0])
        self.state = np.clip([self.state[0] + 0.2 * velocity, velocity], -5, 5)
        distance = abs(self.state[0])
        return (
            self.state.astype(np.float32),
            1.0 - distance,
            False,
            False,
            {"is_success": bool(distance < 0.1)},
        )


def register() -> None:
    """Register the env with Gymnasium."""
    if "acme/Point-v0" not in gym.registry:
        gym.register("acme/Point-v0", entry_point="acme.env:Point", max_episode_steps=30)
