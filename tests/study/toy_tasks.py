"""Toy tasks that share spaces: a point on a line with force, rewarded for being right or left of the center."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

STEPS = 8  # of an episode


class Line(gym.Env):
    """A point with a velocity; the action pushes it.

    Args:
        sign: 1: the reward is the position, -1: its negative.
        size: Number of values of the observation, padded with zeros.
        fails: Raise an error in every step of an agent's second episode.
    """

    def __init__(self, sign: float = 1.0, size: int = 3, fails: bool = False) -> None:
        self.observation_space = spaces.Box(-10, 10, (size,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.sign, self.fails, self.episodes = sign, fails, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Start near the center."""
        super().reset(seed=seed)
        self.state, self.count = self.np_random.uniform(-0.1, 0.1, 2), 0
        self.episodes += 1
        return self._observe(), {"is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Push the point."""
        if self.fails:
            raise RuntimeError("the motor\nis broken")
        self.state[1] = 0.8 * self.state[1] + 0.3 * float(np.clip(action, -1, 1)[0])
        self.state[0] = np.clip(self.state[0] + self.state[1], -2, 2)
        self.count += 1
        reward = float(np.clip(self.sign * self.state[0], 0, 1))
        return self._observe(), reward, False, self.count >= STEPS, {"is_success": reward > 0.9}

    def _observe(self) -> np.ndarray:
        values = np.zeros(self.observation_space.shape, np.float32)
        values[:3] = [*self.state, np.sin(self.state[0])][: len(values)]
        return values


def register() -> None:
    """Register the toy tasks with Gymnasium, once."""
    tasks: dict[str, dict[str, Any]] = {
        "Right": {}, "Left": {"sign": -1.0}, "Wide": {"size": 4}, "Broken": {"fails": True},
    }  # fmt: skip
    for name, kwargs in tasks.items():
        if f"toy/{name}-v0" not in gym.registry:
            gym.register(f"toy/{name}-v0", entry_point=Line, kwargs=kwargs)


register()
