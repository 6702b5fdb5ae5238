"""Planning to goals in a latent world model: improved CEM, every lane with randomness of its own. No reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import RequestError, unknown
from robossl.core.seeding import generator, generator_state, restore_generator

_ROWS = 1024  # rollouts of one network call: always as many, so that no result depends on how many lanes plan


@dataclass(frozen=True)
class PlannerConfig:
    """Cross-entropy search over blocks of actions (Pinneri et al., "Sample-efficient CEM", 2020)."""

    samples: int = 64  # action sequences of one iteration
    iterations: int = 4
    elites: int = 10  # the best ones, which the next iteration is drawn around
    keep: float = 0.3  # of the elites, the share that takes part in the next iteration as it is
    horizon: int = 12  # [steps] planned ahead
    block: int = 2  # [steps] that one decision lasts; then it is planned anew
    colour: float = 1.0  # exponent of the noise along the plan: 0 white, 2 red
    spread: float = 0.6  # standard deviation of the first iteration, in halves of the action range
    momentum: float = 0.1  # how much of the old mean stays
    patience: float = 1.0  # weight of the last steps over the first ones: holding counts more than touching


PRESETS = {
    "cpu": PlannerConfig(),
    "paper": PlannerConfig(samples=300, iterations=30, elites=30, keep=0.0, horizon=25, block=5, colour=0.0),
}


class Planner:
    """Plans for n lanes at once: from latents towards goal latents, over the model's own dynamics."""

    def __init__(
        self, model: Any, config: PlannerConfig, action_space: gym.Space, num_envs: int, seed: int
    ) -> None:
        """`model` imagines: `imagine(z [N, Z], actions [N, T, A], heads=...) -> [N, T + 1, Z]`."""
        if not isinstance(action_space, gym.spaces.Box):
            raise RequestError(f"the planner searches continuous actions; this env has {action_space}")
        if config.horizon % config.block:
            raise RequestError(f"horizon {config.horizon} is no multiple of block {config.block}")
        self.model, self.config, self.num_envs = model, config, num_envs
        low = np.where(np.isfinite(action_space.low), action_space.low, -1.0).astype(np.float32)
        high = np.where(np.isfinite(action_space.high), action_space.high, 1.0).astype(np.float32)
        self._shape = action_space.shape
        self._middle = torch.from_numpy((low + high).reshape(-1) / 2)  # (A,)
        self._half = torch.from_numpy((high - low).reshape(-1) / 2)  # (A,)
        self._random = [generator(seed, "planner", lane) for lane in range(num_envs)]
        blocks, width = config.horizon // config.block, self._middle.numel()
        self._mean = torch.zeros(num_envs, blocks, width)  # (n, H, A) the plan of each lane, in [-1, 1]
        self._scale = _colour_scale(blocks, config.colour)

    def reset(self, lanes: np.ndarray) -> None:
        """Forget the plans of `lanes` (m,)."""
        self._mean[torch.from_numpy(np.asarray(lanes))] = 0.0

    @torch.inference_mode()
    def plan(self, z: Tensor, goal: Tensor, lanes: np.ndarray) -> np.ndarray:
        """The next block of actions (m, block, *A) of `lanes` (m,), from z (m, Z) towards goal (m, Z)."""
        config, index = self.config, torch.from_numpy(np.asarray(lanes))
        mean = self._mean[index]  # (m, H, A), warm from the last plan
        deviation = torch.full_like(mean, config.spread)
        kept = mean[:, None][:, :0]  # (m, 0, H, A) elites of the iteration before
        best, least = mean.clone(), torch.full((len(mean),), torch.inf)
        for _ in range(config.iterations):
            drawn = mean[:, None] + deviation[:, None] * self._noise(lanes, config.samples - kept.shape[1])
            drawn = drawn.clamp(-1, 1)
            drawn[:, 0] = mean  # the mean itself is always among those compared
            drawn = torch.cat([drawn, kept], 1)  # (m, S, H, A)
            cost = self._cost(z, goal, drawn)  # (m, S)
            order = cost.topk(config.elites, dim=1, largest=False)
            elite = torch.take_along_dim(drawn, order.indices[:, :, None, None], 1)
            better = order.values[:, 0] < least
            best[better], least[better] = elite[better, 0], order.values[better, 0]
            mean = config.momentum * mean + (1 - config.momentum) * elite.mean(1)
            deviation = config.momentum * deviation + (1 - config.momentum) * elite.std(1, correction=0)
            kept = elite[:, : int(config.keep * config.elites)]
        self._mean[index] = torch.cat([mean[:, 1:], mean[:, -1:]], 1)  # one block on
        action = (self._middle + best[:, 0] * self._half).reshape(len(lanes), 1, *self._shape)
        return action.expand(-1, config.block, *self._shape).numpy().copy()

    def _noise(self, lanes: np.ndarray, count: int) -> Tensor:
        """(m, count, H, A) of unit variance, coloured along H, from each lane's own generator."""
        blocks, width = self._mean.shape[1:]
        white = np.stack(
            [self._random[lane].standard_normal((count, blocks, width), np.float32) for lane in lanes]
        )
        if self.config.colour == 0 or blocks < 3:
            return torch.from_numpy(white)
        spectrum = np.fft.rfft(white, axis=2) * self._scale[None, None, :, None]
        return torch.from_numpy(np.fft.irfft(spectrum, blocks, axis=2).astype(np.float32))

    def _cost(self, z: Tensor, goal: Tensor, plans: Tensor) -> Tensor:
        """(m, S): weighted sum of squared latent distances to the goal along each plan (m, S, H, A)."""
        m, count = plans.shape[:2]
        weight = torch.linspace(1.0, 1.0 + self.config.patience, self.config.horizon)
        actions = (self._middle + plans * self._half).repeat_interleave(self.config.block, 2)
        starts = z[:, None].expand(-1, count, -1).reshape(m * count, -1)
        goals = goal[:, None].expand(-1, count, -1).reshape(m * count, -1)
        actions = actions.reshape(m * count, self.config.horizon, *self._shape)
        costs = []
        for first in range(0, m * count, _ROWS):
            part = slice(first, first + _ROWS)
            path = self._imagine(starts[part], actions[part])  # (rows, T, Z)
            distance = (path - goals[part, None]).square().mean(-1)  # (rows, T)
            costs.append((distance * weight).sum(-1))
        return torch.cat(costs).reshape(m, count)

    def _imagine(self, start: Tensor, actions: Tensor) -> Tensor:
        """(rows, T, Z) without the start, in a call of always the same shape."""
        rows = len(start)
        if rows < _ROWS:
            start = torch.cat([start, start.new_zeros(_ROWS - rows, *start.shape[1:])])
            actions = torch.cat([actions, actions.new_zeros(_ROWS - rows, *actions.shape[1:])])
        return self.model.imagine(start, actions, heads="first")[:rows, 1:]

    def get_checkpoint(self) -> dict[str, Any]:
        """Generators and warm plans."""
        return {"random": [generator_state(r) for r in self._random], "mean": self._mean.numpy().copy()}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        for random, state in zip(self._random, tree["random"], strict=True):
            restore_generator(random, state)
        self._mean = torch.from_numpy(np.array(tree["mean"], np.float32))


def _colour_scale(length: int, exponent: float) -> np.ndarray:
    """(length // 2 + 1,) factors that colour white noise of that length and keep its mean variance."""
    frequency = np.fft.rfftfreq(length)
    frequency[0] = frequency[1] if length > 1 else 1.0
    scale = frequency ** (-exponent / 2)
    power = scale**2
    weight = np.full(
        len(power), 2.0
    )  # each frequency stands for two, but the first and, for even lengths, the last
    weight[0] = 1.0
    if length % 2 == 0:
        weight[-1] = 1.0
    return scale / np.sqrt((weight * power).sum() / length)


class GoalPlanner:
    """A policy that plans towards each lane's desired goal. Needs a goal env that can say how a goal looks."""

    def __init__(
        self, model: Any, envs: Any, seed: int = 0, preset: str = "cpu", config: PlannerConfig | None = None
    ) -> None:
        """`model` encodes and imagines; `envs` is a vector env with `goal_observation(goal (m, G)) -> (m, D)`."""
        if config is None and preset not in PRESETS:
            raise unknown("planner preset", preset, PRESETS)
        self._envs = envs.unwrapped
        if not hasattr(self._envs, "goal_observation"):
            raise RequestError(
                "planning to goals needs an env that can say how a goal looks (goal_observation)"
            )
        self.model = model
        self.planner = Planner(
            model, config or PRESETS[preset], envs.single_action_space, envs.num_envs, seed
        )
        self._queue: list[list[np.ndarray]] = [[] for _ in range(envs.num_envs)]

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, A): the next action of every lane's plan; lanes whose block is used up plan anew."""
        lanes = np.array([lane for lane, queue in enumerate(self._queue) if not queue], np.int64)
        if len(lanes):
            seen = np.asarray(observation["observation"])[lanes]
            wanted = self._envs.goal_observation(np.asarray(observation["desired_goal"])[lanes])
            with torch.inference_mode():
                z = torch.as_tensor(self.model.encode(seen))
                goal = torch.as_tensor(self.model.encode(np.asarray(wanted, seen.dtype)))
            for lane, block in zip(lanes, self.planner.plan(z, goal, lanes)):
                self._queue[lane] = list(block)
        return np.stack([queue.pop(0) for queue in self._queue]).astype(np.float32)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """New episodes: what was planned for those lanes is forgotten."""
        lanes = np.arange(len(self._queue)) if mask is None else np.flatnonzero(mask)
        for lane in lanes:
            self._queue[lane] = []
        self.planner.reset(lanes)


AGENTS = {"planner": GoalPlanner}
