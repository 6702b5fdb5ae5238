"""TwoRoom: the point in two rooms of the goal-reaching literature, as a vector env with physics states."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.seeding import generator

# Sizes of the published env, in pixels of its images of 65 x 65: room 5 to 60, wall of width 6 at x = 32.5, door of
# half-width 4 at y = 30, 2 pixels for a full action. Here the rooms are [-1, 1] x [-1, 1].
_PIXEL = 1 / 27.5
_WALL = 3 * _PIXEL  # half thickness
_DOOR = -2.5 * _PIXEL  # y of the middle of the door
_DOOR_HALF = 4 * _PIXEL
_SPEED = 2 * _PIXEL  # distance of one step with a full action, on each axis
_RADIUS = 4.5 * _PIXEL  # distance to the goal that counts as success
_MAX_EPISODE_STEPS = 200


class TwoRoomEnvs(VectorEnv):
    """Points that move by their actions; a wall with a door separates two rooms.

    The observation is the position. Autoreset is disabled: finished sub-environments are reset by the caller.
    """

    def __init__(self, num_envs: int) -> None:
        """Create `num_envs` sub-environments."""
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        position = spaces.Box(-1, 1, (2,), np.float32)
        self.single_observation_space = spaces.Dict(
            observation=position, achieved_goal=position, desired_goal=position
        )
        self.single_action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.position, self.goal = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self.elapsed = np.zeros(num_envs, np.int64)  # steps in the episode
        self._random = generator(0, "two rooms")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Draw positions and goals in either room, for all sub-environments or those of `options["reset_mask"]`."""
        if seed is not None:
            self._random = generator(seed, "two rooms")
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        self.position[mask], self.goal[mask] = (self._sample(int(mask.sum())) for _ in range(2))
        self.elapsed[mask] = 0
        return self._observe(), {"is_success": self._success()}

    def _sample(self, count: int) -> np.ndarray:
        position = self._random.uniform(-1, 1, (count, 2))
        side = np.where(self._random.random(count) < 0.5, -1.0, 1.0)
        position[:, 0] = side * self._random.uniform(_WALL, 1, count)
        return position

    def step(
        self, actions: Any
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move the points; the reward is 0 at the goal and -1 elsewhere, an episode is truncated after 200 steps."""
        self.position = move(self.position, np.clip(np.asarray(actions, np.float64), -1, 1))
        self.elapsed += 1
        success = self._success()
        truncated = self.elapsed >= _MAX_EPISODE_STEPS
        return self._observe(), success - 1.0, np.zeros_like(truncated), truncated, {"is_success": success}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> np.ndarray:
        """Return 0 (...) where the goal is reached, else -1."""
        return (np.linalg.norm(achieved - desired, axis=-1) < _RADIUS) - 1.0

    def _success(self) -> np.ndarray:
        return np.linalg.norm(self.position - self.goal, axis=1) < _RADIUS

    def _observe(self) -> dict[str, np.ndarray]:
        position = self.position.astype(np.float32)
        return {
            "observation": position,
            "achieved_goal": position.copy(),
            "desired_goal": self.goal.astype(np.float32),
        }

    def goal_observation(self, goals: np.ndarray) -> np.ndarray:
        """Return the observations (m, 2) at goals (m, 2)."""
        return np.asarray(goals, np.float32)

    # --- physics state

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return the positions (n, 2)."""
        return {"position": self.position.copy()}

    def get_physics_state(self) -> np.ndarray:
        """Return the positions (n, 2)."""
        return self.position.copy()

    def set_physics_state(
        self, physics: np.ndarray, env_ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Set the positions (m, 2) and goals (m, 2) of sub-environments; return the observation of all."""
        index = np.arange(self.num_envs) if env_ids is None else np.asarray(env_ids)
        self.position[index], self.elapsed[index] = physics, 0
        if goal is not None:
            self.goal[index] = goal
        return self._observe()


def move(position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the positions (n, 2) after actions (n, 2) in [-1, 1]; a blocked point slides along the wall."""
    target = np.clip(position + _SPEED * action, -1, 1)
    side = np.where(position[:, 0] < 0, -1.0, 1.0)  # of the nearer wall face; a step is shorter than the wall
    outside = np.abs(position[:, 0]) >= _WALL
    dx = target[:, 0] - position[:, 0]
    fraction = np.clip((side * _WALL - position[:, 0]) / np.where(dx == 0, 1, dx), 0, 1)
    y_at_wall = position[:, 1] + fraction * (target[:, 1] - position[:, 1])
    enters = outside & (side * target[:, 0] < _WALL)
    blocked = enters & (np.abs(y_at_wall - _DOOR) > _DOOR_HALF)
    target[blocked, 0] = side[blocked] * _WALL
    in_door = np.abs(target[:, 0]) < _WALL
    target[in_door, 1] = np.clip(target[in_door, 1], _DOOR - _DOOR_HALF, _DOOR + _DOOR_HALF)
    return target
