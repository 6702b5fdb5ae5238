"""SingleWarpEnv: one sub-environment on MuJoCo Warp as a plain Gymnasium env, to check it; a batch is its purpose."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ..engine.task import GoalTask, compute_goal_reward
from .host_env import HostWarpEnv


class SingleWarpEnv(gymnasium.Env):
    """Gymnasium env of one task with numpy arrays; Gymnasium's TimeLimit wrapper adds the time limit.

    Args:
        task: A Task, a subclass of it, or "module:Name".
        settings: Those of `WarpVectorEnv`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, task: Any, **settings: Any) -> None:
        self._envs = HostWarpEnv(task, 1, autoreset_mode="Disabled", **settings)
        self.metadata = {**self._envs.metadata, "autoreset_mode": None}
        self.render_mode = None
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        observation, infos = self._envs.reset(seed=seed, options=options)
        return _first(observation), _info(infos)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; `action` is (A,), clipped to [-1, 1]."""
        self._envs.simulation.ended.zero_()  # the caller decides when an episode is over
        observation, reward, terminated, truncated, infos = self._envs.step(np.asarray(action)[None])
        return _first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _info(infos)

    def close(self) -> None:
        """Close the batch."""
        self._envs.close()


class SingleWarpGoalEnv(SingleWarpEnv):
    """The same of a goal task; libraries recognize a goal env by its `compute_reward`."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> Any:
        """Return the rewards (...,) of goals (..., G); a float for two single goals."""
        return compute_goal_reward(self._envs.simulation.task, achieved, desired)


def make_single(task: Any, **settings: Any) -> SingleWarpEnv:
    """Return the env of a task, with goals if it has them."""
    kind = SingleWarpGoalEnv if isinstance(task, GoalTask) else SingleWarpEnv
    return kind(task, **settings)


def _first(observation: Any) -> Any:
    return {k: v[0] for k, v in observation.items()} if isinstance(observation, dict) else observation[0]


def _info(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: bool(value[0]) for name, value in infos.items() if not name.startswith("_")}
