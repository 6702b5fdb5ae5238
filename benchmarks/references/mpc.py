"""Foresight: a search for actions over the true simulator, from the state the lanes are really in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from robossl.envs.engine.simulation import Simulation
from robossl.envs.engine.task import GoalTask

from robossl.core.seeding import generator

Bonus = Callable[[Simulation], np.ndarray]  # (m,) on top of the reward, of where the simulation is now


@dataclass(frozen=True)
class ForesightConfig:
    """A cross-entropy search that keeps its best plans (Pinneri et al., "Sample-efficient CEM", 2020)."""

    samples: int = 32  # plans of one iteration, for each lane
    iterations: int = 1
    elites: int = 6  # the best ones; the next iteration is drawn around them
    kept: int = 3  # elites that are tried again, in the next iteration and the next plan
    horizon: int = 20  # [control steps] looked ahead
    every: int = 3  # [control steps] between two plans
    spread: float = 0.6  # standard deviation of the first iteration
    memory: float = 0.7  # correlation of the noise from one step of a plan to the next
    tail: float = 4.0  # [control steps] that the last reward of a plan is taken to last


class SimulatorMPC:
    """A controller that plans with the physics and the reward of the env itself."""

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        config: ForesightConfig | None = None,
        bonus: Bonus | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or ForesightConfig()
        self._real: Simulation = envs.unwrapped.simulation  # type: ignore[attr-defined]
        self._lanes, self._bonus = envs.num_envs, bonus
        self._width = int(np.prod(envs.single_action_space.shape or ()))
        tried = self._lanes * self.config.samples
        self._imagined = Simulation(self._real.task, tried, self._real.batch.nthread)
        self._random = generator(seed, "references", "foresight")
        self._mean = np.zeros((self._lanes, self.config.horizon, self._width))
        self._best = np.zeros((self._lanes, self.config.kept, self.config.horizon, self._width))
        self._plan = np.zeros((self._lanes, self.config.horizon, self._width))
        self._age = 0  # [control steps] of the plan

    def reset(self, mask: np.ndarray) -> None:
        """Forget the plans of lanes `mask` (n,) bool; all lanes plan anew at the next step."""
        for plans in (self._mean, self._best, self._plan):
            plans[mask] = 0.0
        self._advance(self._age)
        self._age = 0

    def act(self, observation: Any) -> np.ndarray:
        """(n, A): the plan's action of this step."""
        if self._age % self.config.every == 0:
            self._advance(self._age)
            self._age = 0
            self._search()
        self._age += 1
        return self._plan[:, self._age - 1]

    def _advance(self, steps: int) -> None:
        """Let the first steps of all plans go; the last action goes on."""
        if steps:
            for plans in (self._mean, self._best):
                plans[..., :-steps, :] = plans[..., steps:, :]
                plans[..., -steps:, :] = plans[..., -steps - 1 : -steps, :]

    def _search(self) -> None:
        config, lane = self.config, np.arange(self._lanes)[:, None]
        rows = np.repeat(self._real.physics(), config.samples, axis=0)
        spread = np.full_like(self._mean, config.spread)
        for _ in range(config.iterations):
            plans = self._drawn(spread)
            order = np.argsort(-self._worth(plans, rows), axis=1, kind="stable")  # (n, samples)
            elites = plans[lane, order[:, : config.elites]]  # (n, elites, T, A)
            self._mean, spread = elites.mean(axis=1), np.maximum(elites.std(axis=1), 0.1)
            self._best = elites[:, : config.kept].copy()
        self._plan = self._best[:, 0].copy()

    def _drawn(self, spread: np.ndarray) -> np.ndarray:
        """(n, samples, T, A): the best so far, the mean, and plans around it."""
        config, memory = self.config, self.config.memory
        new = config.samples - config.kept - 1
        white = self._random.normal(size=(config.horizon, self._lanes, new, self._width))
        for step in range(1, config.horizon):
            white[step] = memory * white[step - 1] + np.sqrt(1 - memory**2) * white[step]
        around = self._mean[:, None] + spread[:, None] * white.transpose(1, 2, 0, 3)
        return np.clip(np.concatenate([self._best, self._mean[:, None], around], axis=1), -1.0, 1.0)

    def _worth(self, plans: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n, samples): the reward of each plan of (n, samples, T, A) from physics rows (n * samples, P)."""
        imagined, steps = self._imagined, self.config.horizon
        imagined.restore(rows, goal=goals_of(self._real, self.config.samples))
        worth, alive = np.zeros(len(rows)), np.ones(len(rows), bool)
        for step in range(steps):
            outcome = imagined.step(plans[:, :, step].reshape(len(rows), -1))
            alive &= ~outcome.failure
            reward = outcome.reward if self._bonus is None else outcome.reward + self._bonus(imagined)
            worth += reward * alive * (1.0 if step < steps - 1 else 1.0 + self.config.tail)
            alive &= ~outcome.terminated
        return worth.reshape(self._lanes, -1)


def goals_of(simulation: Simulation, times: int = 1) -> np.ndarray | None:
    """(n * times, G): every lane's goal, so many times over; None where the task has none."""
    if not isinstance(simulation.task, GoalTask):
        return None
    goals = np.stack([simulation.goal(lane) for lane in range(simulation.num_envs)])
    return np.repeat(goals, times, axis=0)
