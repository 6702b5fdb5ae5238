"""Third-party envs without faults, in several forms; `register_thirdparty_envs` also registers the faulty ones.

A subprocess imports this module by name, as it would a third-party package.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MAX_EPISODE_STEPS = 40
LIMIT = 2.0  # of the position
SUCCESS_DISTANCE = 0.2


class Good(gym.Env):
    """A point on a line, pushed left and right; its task is to stay in the middle."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space: gym.Space = spaces.Box(-LIMIT, LIMIT, (2,), np.float32)
        self.action_space: gym.Space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.position, self.velocity, self.count = 0.0, 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.velocity, self.count = self.initial_position(), 0.0, 0
        return self.observe(), self.infos()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.count += 1
        self.move(self.push(action))
        return self.observe(), self.reward(), False, False, self.infos()

    def initial_position(self) -> float:
        return float(self.np_random.uniform(-1.0, 1.0))

    def push(self, action: Any) -> float:
        return float(np.clip(action[0], -1.0, 1.0))

    def move(self, push: float) -> None:
        self.velocity = float(np.clip(0.9 * self.velocity + 0.1 * push, -1.0, 1.0))
        self.position = float(np.clip(self.position + 0.2 * self.velocity, -LIMIT, LIMIT))

    def observe(self) -> Any:
        return np.array([self.position, self.velocity], np.float32)

    def reward(self) -> Any:
        return 1.0 - abs(self.position) / LIMIT

    def infos(self) -> dict[str, Any]:
        return {"is_success": abs(self.position) < SUCCESS_DISTANCE, "distance": abs(self.position)}

    def render(self) -> Any:
        image = np.full((32, 64, 3), 230, np.uint8)
        column = int((self.position + LIMIT) / (2 * LIMIT) * 60)
        image[12:20, column : column + 4] = (200, 60, 40)
        return image


class NestedObservation(Good):
    """The observation is a Dict with a Tuple and a Discrete inside."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        line = spaces.Box(-LIMIT, LIMIT, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "motion": spaces.Tuple((line, line)),
                "side": spaces.Discrete(2),
                "clock": spaces.Box(0, 1, (), np.float64),
            }
        )

    def observe(self) -> Any:
        motion = (np.array([self.position], np.float32), np.array([self.velocity], np.float32))
        clock = np.array(min(self.count / 1000, 1.0))
        return {"motion": motion, "side": np.int64(self.position > 0), "clock": clock}


class NoSuccess(Good):
    """Reports no success and does not render."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def infos(self) -> dict[str, Any]:
        return {}


class ManyInfos(Good):
    """The infos have more keys, one of them not at every step."""

    def infos(self) -> dict[str, Any]:
        infos = {**super().infos(), "energy": 0.5 * self.velocity**2, "text": "calm"}
        return {**infos, "bump": self.velocity} if self.count % 5 == 4 else infos


class DiscreteActions(Good):
    """A Discrete action space with three actions that starts at 1."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Discrete(3, start=1)

    def push(self, action: Any) -> float:
        return float(action) - 2.0


class GoalEnv(Good):
    """A goal env: the point should move to a goal that is sampled at reset."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        goal_space = spaces.Box(-LIMIT, LIMIT, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {"observation": self.observation_space, "achieved_goal": goal_space, "desired_goal": goal_space}
        )
        self.goal = np.zeros(1, np.float32)

    def initial_position(self) -> float:
        self.goal = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return super().initial_position()

    def observe(self) -> Any:
        position = np.array([self.position], np.float32)
        return {"observation": super().observe(), "achieved_goal": position, "desired_goal": self.goal.copy()}

    def reward(self) -> Any:
        observation = self.observe()
        return float(self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {}))

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> Any:
        return 1.0 - np.linalg.norm(achieved_goal - desired_goal, axis=-1) / LIMIT


class ImageObservation(Good):
    """The observation is an image."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(0, 255, (32, 64, 3), np.uint8)

    def observe(self) -> Any:
        return self.render()


class ZeroReward(Good):
    """Every reward is 0."""

    def reward(self) -> Any:
        return 0.0


class NoTimeLimit(DiscreteActions):
    """No registered time limit; episodes terminate at random."""

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, bool(self.np_random.random() < 0.05), truncated, info


def register_thirdparty_envs() -> list[str]:
    """Register every env of this module and of `faulty_envs` as thirdparty/<Class>-v0; return the ids."""
    import faulty_envs

    ids = []
    for module in (globals(), vars(faulty_envs)):
        for name, value in module.items():
            if isinstance(value, type) and issubclass(value, Good) and value.__module__ == module["__name__"]:
                ids.append(f"thirdparty/{name}-v0")
                if ids[-1] not in gym.registry:
                    limit = None if name in ("NeverEnds", "NoTimeLimit") else MAX_EPISODE_STEPS
                    gym.register(ids[-1], entry_point=f"{value.__module__}:{name}", max_episode_steps=limit)
    return ids
