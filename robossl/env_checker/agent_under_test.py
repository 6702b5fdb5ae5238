"""The agent under test of `robossl check-agent`, and the small envs and world models it is created with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.interfaces import Agent, Representation
from robossl.core.seeding import generator_state, restore_generator
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.goal_heads import create_goal_heads

NUM_ENVS = 3
ENV_KINDS = ("continuous", "discrete", "goals")
_MAX_EPISODE_STEPS = 20
_LIMIT = 3.0  # of a coordinate; beyond it the episode terminates
_TOLERANCE = 0.3  # distance to the goal that counts as success


class PointEnvs(VectorEnv):
    """A batch of points whose position changes by the action.

    The action bounds are not symmetric and Discrete actions start at 1, so that a check fails for an agent
    that ignores them. Autoreset is disabled, as in training. `actions` and `num_steps` record what the agent did.
    """

    def __init__(self, num_envs: int, env_kind: str) -> None:
        """Create the envs; `env_kind` is continuous (Box), discrete (Discrete) or goals (Box, goal observations)."""
        self.num_envs, self.env_kind = num_envs, env_kind
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        position_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_observation_space = (
            spaces.Dict(observation=position_space, achieved_goal=position_space, desired_goal=position_space)
            if env_kind == "goals"
            else position_space
        )
        bounds = np.array([-0.5, -1.0], np.float32), np.array([1.0, 0.5], np.float32)
        self.single_action_space = (
            spaces.Discrete(4, start=1) if env_kind == "discrete" else spaces.Box(*bounds, dtype=np.float32)
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.position, self.goal = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self.count = np.zeros(num_envs, np.int64)  # steps in the episode
        self.done = np.ones(num_envs, bool)
        self.random = np.random.default_rng(0)
        self.actions: list[np.ndarray] = []  # of all steps, each (n, *A)

    @property
    def num_steps(self) -> int:
        """Env steps taken, summed over the sub-environments."""
        return len(self.actions) * self.num_envs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or those of `options["reset_mask"]`."""
        if seed is not None:
            self.random = np.random.default_rng(seed)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self.position[mask] = self.random.uniform(-1, 1, (int(mask.sum()), 2))
        self.goal[mask] = self.random.uniform(-1, 1, (int(mask.sum()), 2))
        self.count[mask], self.done[mask] = 0, False
        return self._observe(), {"is_success": self._distance() < _TOLERANCE}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every point by 0.3 times its action."""
        actions = np.array(actions)
        if self.done.any():
            raise RuntimeError("step was called before the finished sub-environments were reset")
        self.actions.append(actions)
        if self.env_kind == "discrete":
            velocity = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float64)[actions - 1]
        else:
            velocity = actions.astype(np.float64)
        self.position = self.position + 0.3 * velocity
        self.count += 1
        terminated = np.abs(self.position).max(1) > _LIMIT
        truncated = ~terminated & (self.count >= _MAX_EPISODE_STEPS)
        self.done = terminated | truncated
        return (
            self._observe(),
            -self._distance(),
            terminated,
            truncated,
            {"is_success": self._distance() < _TOLERANCE},
        )

    def _distance(self) -> np.ndarray:
        return np.linalg.norm(self.position - (self.goal if self.env_kind == "goals" else 0.0), axis=1)

    def _observe(self) -> Any:
        position = self.position.astype(np.float32)
        if self.env_kind != "goals":
            return position
        return {
            "observation": position,
            "achieved_goal": position.copy(),
            "desired_goal": self.goal.astype(np.float32),
        }

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the points and of the random generator."""
        arrays = {name: getattr(self, name).copy() for name in ("position", "goal", "count", "done")}
        return {**arrays, "random": generator_state(self.random)}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        for name in ("position", "goal", "count", "done"):
            getattr(self, name)[...] = tree[name]
        restore_generator(self.random, tree["random"])


class PointGoalEnvs(PointEnvs):
    """`PointEnvs` with goals, and the methods that hindsight relabeling and planners use."""

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> np.ndarray:
        """Return the negative distance to the goal."""
        return -np.linalg.norm(np.asarray(achieved_goal) - desired_goal, axis=-1)

    def goal_observation(self, goals: np.ndarray) -> np.ndarray:
        """Return the observations (m, 2) at goals (m, 2)."""
        return np.asarray(goals, np.float32)


def make_envs(num_envs: int, env_kind: str) -> PointEnvs:
    """Return the vector env of this kind."""
    return (PointGoalEnvs if env_kind == "goals" else PointEnvs)(num_envs, env_kind)


def make_world_model(env_kind: str, version: int = 1) -> WorldModel:
    """Return a small untrained world model, with goal heads, for one kind of env."""
    envs = make_envs(1, env_kind)
    config = WorldModelConfig(
        latent_dim=6,
        encoder_hidden=(16,),
        dynamics_hidden=(16,),
        inverse_hidden=(16,),
        decoder_hidden=(16,),
        ensemble_size=2,
    )
    model = WorldModel(config, envs.single_observation_space, envs.single_action_space, seed=version)
    model.version = version
    model.goal_heads = create_goal_heads(model, seed=version)
    return model.frozen_copy()


@dataclass(frozen=True)
class AgentUnderTest:
    """An agent factory with the kind of env and the representation that it is called with."""

    factory: Any
    settings: Mapping[str, Any]
    env_kind: str  # see `ENV_KINDS`
    representation: Representation | None
    steps: int  # env steps of one call of `learn`
    folder: Path  # for streams and files

    def make(self, seed: int = 0) -> tuple[Agent, PointEnvs, Recorder]:
        """Return a new agent, its envs, and the recorder that it steps."""
        envs = make_envs(NUM_ENVS, self.env_kind)
        recorder = Recorder.create(envs, Path(tempfile.mkdtemp(dir=self.folder)) / "stream")
        return self.make_in(recorder, seed), envs, recorder

    def make_in(self, recorder: Recorder, seed: int = 0) -> Agent:
        """Return a new agent in a recorder."""
        return self.factory(recorder, self.representation, seed, "cpu", **self.settings)

    def observations(self, count: int) -> list[Any]:
        """Return `count` batches of observations, the same at every call."""
        envs = make_envs(NUM_ENVS, self.env_kind)
        return [envs.reset(seed=100 + i)[0] for i in range(count)]
