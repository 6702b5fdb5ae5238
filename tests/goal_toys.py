"""A small third-party goal env without physics states or goal observations, and streams of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import robossl
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig

SMALL = WorldModelConfig(
    latent_dim=6,
    encoder_hidden=(16,),
    dynamics_hidden=(16,),
    inverse_hidden=(16,),
    decoder_hidden=(16,),
    ensemble_size=2,
)


class Slide(gym.Env):
    """A point in the plane moves by its action; the goal is a position, in other units than the observation.

    Args:
        goals: Space of the goals: "box", "discrete" or "image"; only box goals can be reached.
        discrete: Whether the actions are the four directions instead of a vector.
        images: Whether the observation is an image of the point.
    """

    RADIUS = 0.3

    def __init__(self, goals: str = "box", discrete: bool = False, images: bool = False) -> None:
        position = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.goal_space = {
            "box": position,
            "discrete": spaces.Discrete(3),
            "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        }[goals]
        self.images = images
        self.observation_space = spaces.Dict(
            observation=spaces.Box(0, 255, (44, 44, 3), np.uint8) if images else position,
            achieved_goal=self.goal_space,
            desired_goal=self.goal_space,
        )
        self.action_space = spaces.Discrete(4, start=1) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.discrete = discrete

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Draw a position and a goal."""
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.count = 0
        return self._observe(), {"is_success": self._success()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Move; episodes are truncated after 30 steps."""
        velocity = (
            np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[int(action) - 1]
            if self.discrete
            else np.asarray(action)
        )
        self.position = np.clip(self.position + 0.15 * velocity, -1.5, 1.5)
        self.count += 1
        success = self._success()
        return self._observe(), float(success), False, self.count >= 30, {"is_success": success}

    def _success(self) -> bool:
        return bool(np.linalg.norm(self.position - self.goal) < self.RADIUS)

    def _observe(self) -> Any:
        if self.images:
            image = np.zeros((44, 44, 3), np.uint8)
            x, y = ((self.position + 1.5) / 3 * 40).astype(int)
            image[x : x + 4, y : y + 4] = 255
        observation = image if self.images else self.position.copy()
        if not isinstance(self.goal_space, spaces.Box) or self.goal_space.dtype == np.uint8:
            goal = self.goal_space.sample()
            return {"observation": observation, "achieved_goal": goal, "desired_goal": goal}
        achieved, desired = 100 * self.position + 7, 100 * self.goal + 7
        return {"observation": observation, "achieved_goal": achieved, "desired_goal": desired}


def slides(num_envs: int, **settings: Any) -> VectorEnv:
    """Return a batch of `Slide` envs."""
    return SyncVectorEnv(
        [lambda: Slide(**settings) for _ in range(num_envs)], autoreset_mode=AutoresetMode.DISABLED
    )


def record(folder: Path, steps: int = 3000, policy: str = "random", **settings: Any) -> Stream:
    """Return a stream of random actions in `Slide`."""
    return robossl.collect(slides(10, **settings), policy, steps, folder, seed=0)


def model_for(stream: Stream, seed: int = 0, **config: Any) -> WorldModel:
    """Return an untrained frozen world model of version 1 for a stream."""
    settings = SMALL if not config else WorldModelConfig(**{**SMALL.to_json(), **config})
    model = WorldModel(settings, stream.observation_space, stream.action_space, seed)
    model.version = 1
    return model.frozen_copy()
