"""Model predictive control by cross-entropy search in a copy of the true simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from robossl.envs.engine.simulation import Simulation
from robossl.envs.engine.task import GoalTask

from robossl.core.seeding import generator

# returns (m,) numbers that are added to the reward, from the current simulation state
RewardBonus = Callable[[Simulation], np.ndarray]


@dataclass(frozen=True)
class MPCConfig:
    """Cross-entropy search with shift initialization and kept elites (iCEM; Pinneri et al. 2020)."""

    num_samples: int = 32  # plans per iteration and sub-environment
    num_iterations: int = 1
    num_elites: int = 6  # best plans, to which the next distribution is fitted
    num_kept: int = 3  # elites evaluated again in the next iteration and the next plan
    horizon: int = 20  # [control steps]
    replan_every: int = 3  # [control steps]
    init_std: float = 0.6  # standard deviation of the first iteration
    noise_correlation: float = 0.7  # between successive steps of a plan
    terminal_steps: float = 4.0  # [control steps] for which the last reward is assumed to continue


class SimulatorMPC:
    """Controller that plans with the physics and the reward of the env itself."""

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        config: MPCConfig | None = None,
        bonus: RewardBonus | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or MPCConfig()
        self._env_simulation: Simulation = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._num_envs, self._bonus = envs.num_envs, bonus
        self._action_dim = int(np.prod(envs.single_action_space.shape or ()))
        num_plans = self._num_envs * self.config.num_samples
        self._plan_simulation = Simulation(
            self._env_simulation.task, num_plans, self._env_simulation.batch.nthread
        )
        self._random = generator(seed, "references", "foresight")
        horizon = self.config.horizon
        self._mean = np.zeros((self._num_envs, horizon, self._action_dim))
        self._elites = np.zeros((self._num_envs, self.config.num_kept, horizon, self._action_dim))
        self._plan = np.zeros((self._num_envs, horizon, self._action_dim))
        self._plan_age = 0  # [control steps]

    def reset(self, mask: np.ndarray) -> None:
        """Clear the plans of `mask` (n,) bool; all sub-environments plan again at the next step."""
        for plans in (self._mean, self._elites, self._plan):
            plans[mask] = 0.0
        self._shift_plans(self._plan_age)
        self._plan_age = 0

    def act(self, observation: Any) -> np.ndarray:
        """Return the current actions (n, A) of the plans; plan again every `replan_every` steps."""
        if self._plan_age % self.config.replan_every == 0:
            self._shift_plans(self._plan_age)
            self._plan_age = 0
            self._search()
        self._plan_age += 1
        return self._plan[:, self._plan_age - 1]

    def _shift_plans(self, steps: int) -> None:
        """Drop the first `steps` actions of the mean and the elites, and repeat the last action."""
        if steps:
            for plans in (self._mean, self._elites):
                plans[..., :-steps, :] = plans[..., steps:, :]
                plans[..., -steps:, :] = plans[..., -steps - 1 : -steps, :]

    def _search(self) -> None:
        config, env_index = self.config, np.arange(self._num_envs)[:, None]
        physics = np.repeat(self._env_simulation.get_physics_state(), config.num_samples, axis=0)
        std = np.full_like(self._mean, config.init_std)
        for _ in range(config.num_iterations):
            plans = self._sample_plans(std)
            order = np.argsort(-self._plan_returns(plans, physics), axis=1, kind="stable")  # (n, num_samples)
            elites = plans[env_index, order[:, : config.num_elites]]  # (n, num_elites, T, A)
            self._mean, std = elites.mean(axis=1), np.maximum(elites.std(axis=1), 0.1)
            self._elites = elites[:, : config.num_kept].copy()
        self._plan = self._elites[:, 0].copy()

    def _sample_plans(self, std: np.ndarray) -> np.ndarray:
        """Return (n, num_samples, T, A): the kept elites, the mean, and plans sampled around the mean."""
        config, correlation = self.config, self.config.noise_correlation
        num_new = config.num_samples - config.num_kept - 1
        noise = self._random.normal(size=(config.horizon, self._num_envs, num_new, self._action_dim))
        for step in range(1, config.horizon):
            noise[step] = correlation * noise[step - 1] + np.sqrt(1 - correlation**2) * noise[step]
        sampled = self._mean[:, None] + std[:, None] * noise.transpose(1, 2, 0, 3)
        return np.clip(np.concatenate([self._elites, self._mean[:, None], sampled], axis=1), -1.0, 1.0)

    def _plan_returns(self, plans: np.ndarray, physics: np.ndarray) -> np.ndarray:
        """Return (n, num_samples) the return of each plan.

        Args:
            plans: (n, num_samples, T, A) actions.
            physics: (n * num_samples, P) physics states from which the plans start.
        """
        simulation, steps = self._plan_simulation, self.config.horizon
        simulation.set_physics_state(
            physics, goal=current_goals(self._env_simulation, self.config.num_samples)
        )
        returns, running = np.zeros(len(physics)), np.ones(len(physics), bool)
        for step in range(steps):
            result = simulation.step(plans[:, :, step].reshape(len(physics), -1))
            running &= ~result.physics_error
            reward = result.reward if self._bonus is None else result.reward + self._bonus(simulation)
            returns += reward * running * (1.0 if step < steps - 1 else 1.0 + self.config.terminal_steps)
            running &= ~result.terminated
        return returns.reshape(self._num_envs, -1)


def current_goals(simulation: Simulation, repeats: int = 1) -> np.ndarray | None:
    """Return the goals (n * repeats, G) of all sub-environments, or None if the task has no goals."""
    if not isinstance(simulation.task, GoalTask):
        return None
    goals = np.stack([simulation.goal(env_index) for env_index in range(simulation.num_envs)])
    return np.repeat(goals, repeats, axis=0)
