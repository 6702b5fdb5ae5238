"""Adapters of third-party envs: saving and setting their state, which gives their reports every section.

An adapter is a class of one env. It is registered under the id of the env, or under a name that `--adapter` selects:

    class PushAdapter(EnvAdapter):
        def get_state(self): return np.array([*self.env.position, self.env.clock], float)
        def set_state(self, state): self.env.position[:], self.env.clock = state[:2], state[2]
        def observation(self): return self.env.observe()

    robossl.register("env_adapters", "my/Push-v0", PushAdapter)

Packages register theirs by the entry-point group `robossl.env_adapters`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robossl.core.errors import OperationError, UsageError, one_line
from robossl.core.spaces import flatten_by_path, unflatten_by_path

from .batched_envs import SyncEnvs
from .standard_env import StandardEnv


class EnvAdapter(ABC):
    """State and goal of one third-party env; `env` is the env without wrappers.

    Example:
        class MyAdapter(robossl.envs.EnvAdapter):
            ...  # saves and sets the state of the env; each method states what it returns
    """

    def __init__(self, env: gymnasium.Env) -> None:
        """Adapt an env.

        Args:
            env: The env without wrappers.
        """
        self.env: Any = env

    @abstractmethod
    def get_state(self) -> np.ndarray:
        """Return the complete state (P,) float64: the future from it must be the same, for the same actions."""

    @abstractmethod
    def set_state(self, state: np.ndarray) -> None:
        """Set the env to a state (P,) from `get_state`."""

    @abstractmethod
    def observation(self) -> Any:
        """Return the observation of the current state."""

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return quantities by name, each a vector float64, that probes look for in the representation."""
        return {"state": self.get_state()}

    def set_goal(self, goal: np.ndarray) -> None:
        """Set the desired goal (G,), in an env with goals."""
        raise UsageError(f"{type(self).__name__} cannot set goals; implement set_goal(goal)")

    def goal_observation(self, goal: np.ndarray) -> np.ndarray:
        """Return the part `observation` (D,) of an observation in which the env is at rest at a goal (G,).

        It is optional: with it, planners can compare latents with the latent of the goal (row `planner_latent`).
        """
        raise UsageError(
            f"{type(self).__name__} has no observations of goals; implement goal_observation(goal)"
        )


class MujocoAdapter(EnvAdapter):
    """Adapter of envs with the attributes `model` and `data` of MuJoCo and a method `_get_obs`, as Gymnasium's have.

    Example:
        envs = robossl.envs.make_gymnasium_envs("HalfCheetah-v5", 4, adapter=robossl.envs.MujocoAdapter)
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        import mujoco

        missing = [name for name in ("model", "data", "_get_obs") if not hasattr(env, name)]
        if missing:
            raise UsageError(f"adapter mujoco: {type(env).__name__} has no attribute {', '.join(missing)}")
        self._mujoco: Any = mujoco
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION

    def get_state(self) -> np.ndarray:
        """Return what determines the future of a MuJoCo simulation."""
        state = np.empty(self._mujoco.mj_stateSize(self.env.model, self._kind))
        self._mujoco.mj_getState(self.env.model, self.env.data, state, self._kind)
        return state

    def set_state(self, state: np.ndarray) -> None:
        """Set the simulation and compute what depends on its state."""
        self._mujoco.mj_setState(self.env.model, self.env.data, state, self._kind)
        self._mujoco.mj_forward(self.env.model, self.env.data)

    def observation(self) -> Any:
        """Return what `_get_obs` returns."""
        return self.env._get_obs()

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return positions and velocities."""
        return {"qpos": np.array(self.env.data.qpos), "qvel": np.array(self.env.data.qvel)}

    def set_goal(self, goal: np.ndarray) -> None:
        """Set the attribute `goal`, as gymnasium-robotics has it."""
        if not hasattr(self.env, "goal"):
            super().set_goal(goal)
        self.env.goal = np.array(goal, np.float64)


ADAPTERS = {"mujoco": MujocoAdapter}


class AdaptedEnvs(SyncEnvs):
    """Sync vector env that implements `PhysicsStateEnv` by the adapter of each sub-environment."""

    def __init__(self, env_fns: Any, adapter: type[EnvAdapter], **keywords: Any) -> None:
        super().__init__(env_fns, **keywords)
        if not isinstance(adapter, type) or not issubclass(adapter, EnvAdapter):
            raise UsageError(
                f"expected a subclass of robossl.envs.EnvAdapter as adapter of an env, got {adapter!r:.100}"
            )
        self.adapters = [adapter(env.unwrapped) for env in self.envs]
        if adapter.goal_observation is not EnvAdapter.goal_observation:
            self.goal_observation = self._goal_observation  # callers look for the method

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return privileged quantities by name, each (n, k) float64."""
        self._reset_once()
        states = [adapter.privileged_state() for adapter in self.adapters]
        return {name: np.array([np.ravel(state[name]) for state in states], np.float64) for name in states[0]}

    def get_physics_state(self) -> np.ndarray:
        """Return the states (n, P) float64."""
        self._reset_once()
        return np.array([adapter.get_state() for adapter in self.adapters], np.float64)

    def _reset_once(self) -> None:
        """Reset envs that were never reset: their sizes are needed before the first reset."""
        for index, env in enumerate(self.envs):
            if self._env_obs[index] is None:
                self._env_obs[index], _ = env.reset(seed=index)

    def set_physics_state(
        self, physics: np.ndarray, env_ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Any:
        """Set sub-environments `env_ids` to states (m, P), and to goals (m, G); return all observations."""
        indices = range(self.num_envs) if env_ids is None else np.asarray(env_ids).tolist()
        for row, index in enumerate(indices):
            adapter, env = self.adapters[index], self.envs[index]
            with _named_errors(adapter):
                adapter.set_state(np.array(physics[row], np.float64))
                if goal is not None:
                    adapter.set_goal(np.array(goal[row]))
                observation = adapter.observation()
            assert isinstance(env, StandardEnv)
            self._env_obs[index] = env.selected(_as_space(adapter.env.observation_space, observation))
        self._previous = self._stack(self._env_obs)
        return self._stack(self._env_obs)

    def _goal_observation(self, goal: np.ndarray, env_ids: np.ndarray | None = None) -> np.ndarray:
        """Return observations (m, D), without goals, at goals (m, G)."""
        adapter, space = self.adapters[0], self.single_observation_space
        assert isinstance(space, spaces.Dict)
        part = space["observation"]
        with _named_errors(adapter):
            values = np.array([np.asarray(adapter.goal_observation(np.array(g))) for g in goal])
        if values.shape[1:] != part.shape or not np.isfinite(values).all():
            raise UsageError(
                f"{type(adapter).__name__}.goal_observation: expected finite numbers of shape {part.shape}, got shape "
                f"{values.shape[1:]}"
            )
        return values.astype(part.dtype)


@contextmanager
def _named_errors(adapter: EnvAdapter) -> Iterator[None]:
    """Raise errors of an adapter, whose code may raise anything, as one line."""
    try:
        yield
    except (UsageError, OperationError):
        raise
    except Exception as error:
        raise OperationError(
            f"{type(adapter).__name__} raised {type(error).__name__}: {one_line(error)}"
        ) from error


def _as_space(space: gymnasium.Space, observation: Any) -> Any:
    """Return an observation with the dtypes of its space, where it has only arrays."""
    try:
        parts = flatten_by_path(space, observation)
    except (KeyError, IndexError, TypeError, ValueError):
        return observation
    return unflatten_by_path(space, parts)
