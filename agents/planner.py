"""Planning to goals in a latent world model: improved cross-entropy search, no reward needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import format_space

from .shared.action_range import action_range
from .shared.planning_costs import Cost, GoalDistance, ImaginedTrajectories

_ROWS = 256  # rollouts of one call of the network, about; always as many, see `Planner`
_ENCODED = 16  # observations of one call of the encoder, likewise


@dataclass(frozen=True)
class PlannerConfig:
    """Cross-entropy search over blocks of actions (Pinneri et al., "Sample-efficient CEM", 2020)."""

    samples: int = 64  # action sequences of one iteration
    iterations: int = 4
    elites: int = 10  # the best ones; the next iteration is drawn around them
    keep: float = 0.3  # share of the elites that goes into the next iteration, and the next plan, as it is
    horizon: int = 12  # [steps] planned ahead
    block: int = 2  # [steps] that one action is held; then it is planned anew
    colour: float = 1.0  # exponent of the noise along a plan: 0 white, 2 red
    spread: float = 0.6  # standard deviation of the first iteration, in halves of the action range
    momentum: float = 0.1  # how much of the old mean and deviation stays

    def __post_init__(self) -> None:
        """`RequestError` for numbers that make no search."""
        for name in ("samples", "iterations", "elites", "horizon", "block"):
            if getattr(self, name) < 1:
                raise UsageError(f"planner.{name} is {getattr(self, name)}; expected 1 or more")
        if self.horizon % self.block:
            raise UsageError(f"horizon {self.horizon} is no multiple of block {self.block}")
        if self.elites > self.samples:
            raise UsageError(f"{self.elites} elites of {self.samples} samples; expected no more than samples")

    @property
    def decisions(self) -> int:
        """H: actions in a plan."""
        return self.horizon // self.block

    @property
    def kept(self) -> int:
        """K: elites that live on."""
        return int(self.keep * self.elites)


PRESETS = {
    "cpu": PlannerConfig(),
    "paper": PlannerConfig(samples=300, iterations=30, elites=30, keep=0.0, horizon=25, block=5, colour=0.0),
}


class Planner:
    """Plans for n lanes at once, over the dynamics of a model.

    Every lane has a generator of its own, and the network is always called with equally many rows, a lane's
    plans side by side. So what is planned for a lane does not depend on how many are planned with it.
    """

    def __init__(
        self,
        model: Any,
        config: PlannerConfig,
        action_space: gym.Space,
        num_envs: int = 1,
        seed: int = 0,
        costs: Sequence[Cost] = (GoalDistance(),),
    ) -> None:
        """`model` imagines: `imagine(z [N, Z], actions [N, T, *A], heads="first") -> [N, T + 1, Z]`."""
        if not isinstance(action_space, gym.spaces.Box):
            raise UsageError(
                f"the planner searches continuous actions; this env has {format_space(action_space)}"
            )
        low, high = (bound.reshape(-1).astype(np.float32) for bound in action_range(action_space))
        self.model, self.config, self.num_envs, self.costs = model, config, num_envs, tuple(costs)
        self._shape = action_space.shape
        self._low, self._high = torch.from_numpy(low), torch.from_numpy(high)  # (A,)
        self._middle, self._half = (self._low + self._high) / 2, (self._high - self._low) / 2
        self._random = [generator(seed, "planner", lane) for lane in range(num_envs)]
        self._colour = _colouring(config.decisions, config.colour)
        width = self._middle.numel()
        self._mean = torch.zeros(num_envs, config.decisions, width)  # (n, H, A) last plan, one decision on
        self._kept = torch.zeros(num_envs, config.kept, config.decisions, width)  # (n, K, H, A) likewise
        self._warm = torch.zeros(num_envs, dtype=torch.bool)  # (n,) there is a last plan

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the plans of the lanes of `mask` (n,) bool, of all without one."""
        chosen = slice(None) if mask is None else torch.from_numpy(np.asarray(mask, bool))
        self._mean[chosen] = 0.0
        self._warm[chosen] = False

    @torch.inference_mode()
    def plan(self, z: Tensor, goal: Tensor, lanes: np.ndarray | None = None) -> np.ndarray:
        """The next action (m, *A) of `lanes` (m,), all without, from z (m, Z) towards goal (m, Z), on the CPU."""
        chosen = np.arange(self.num_envs) if lanes is None else np.asarray(lanes)
        found = torch.cat(
            [
                self._search(z[part], goal[part], chosen[part])
                for part in _slices(len(chosen), self._lanes_per_call)
            ]
        )
        action = (self._middle + found * self._half).clamp(self._low, self._high)  # sums round
        return action.reshape(len(chosen), *self._shape).numpy()

    @property
    def _lanes_per_call(self) -> int:
        return max(_ROWS // self.config.samples, 1)

    def _search(self, z: Tensor, goal: Tensor, lanes: np.ndarray) -> Tensor:
        """(m, A): the first action of the best plan of each lane, in [-1, 1]."""
        config, index = self.config, torch.from_numpy(lanes)
        mean = self._mean[index]  # (m, H, A)
        deviation = torch.full_like(mean, config.spread)
        kept, fresh = self._kept[index], ~self._warm[index]
        for _ in range(config.iterations):
            plans = (mean[:, None] + deviation[:, None] * self._noise(lanes)).clamp(-1, 1)  # (m, S, H, A)
            plans[:, 0] = mean  # is always among those compared
            old = torch.where(fresh[:, None, None, None], plans[:, 1 : 1 + config.kept], kept)
            plans[:, 1 : 1 + config.kept] = old
            order = self._cost(z, goal, plans).topk(config.elites, dim=1, largest=False).indices
            elite = torch.take_along_dim(plans, order[:, :, None, None], 1)  # (m, E, H, A) best first
            mean = config.momentum * mean + (1 - config.momentum) * elite.mean(1)
            deviation = config.momentum * deviation + (1 - config.momentum) * elite.std(1, correction=0)
            kept, fresh = elite[:, : config.kept], torch.zeros_like(fresh)
        self._mean[index] = torch.cat([mean[:, 1:], mean[:, -1:]], 1)
        self._kept[index] = torch.cat([kept[:, :, 1:], kept[:, :, -1:]], 2)
        self._warm[index] = True
        return elite[:, 0, 0]

    def _noise(self, lanes: np.ndarray) -> Tensor:
        """(m, S, H, A) of unit variance, coloured along H, each lane's from its own generator."""
        decisions, width = self._mean.shape[1:]
        shape = (self.config.samples, decisions, width)
        white = np.stack([self._random[lane].standard_normal(shape, np.float32) for lane in lanes])
        return torch.from_numpy(np.einsum("th,mshw->mstw", self._colour, white))

    def _cost(self, z: Tensor, goal: Tensor, plans: Tensor) -> Tensor:
        """(m, S) of plans (m, S, H, A); spare lanes fill the call up to its size."""
        m, samples = plans.shape[:2]
        spare = self._lanes_per_call - m
        z, goal, plans = (
            torch.cat([part, part.new_zeros(spare, *part.shape[1:])]) for part in (z, goal, plans)
        )
        steps = plans.repeat_interleave(self.config.block, 2).flatten(0, 1)  # (N, T, A) in [-1, 1]
        actions = (self._middle + steps * self._half).reshape(*steps.shape[:2], *self._shape)
        path = self.model.imagine(z.repeat_interleave(samples, 0), actions, heads="first")[:, 1:]
        imagined = ImaginedTrajectories(path.to(goal.device), steps, goal.repeat_interleave(samples, 0))
        total = sum((cost(imagined) for cost in self.costs), torch.zeros(steps.shape[:2]))  # (N, T)
        return total.sum(-1).reshape(-1, samples)[:m]

    def get_checkpoint(self) -> dict[str, Any]:
        """Generators and warm plans."""
        return {
            "random": [generator_state(random) for random in self._random],
            "mean": self._mean.numpy().copy(),
            "kept": self._kept.numpy().copy(),
            "warm": self._warm.numpy().copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Go on where `get_checkpoint` was, to the same bits."""
        if len(tree["random"]) != self.num_envs:
            raise UsageError(f"the checkpoint has {len(tree['random'])} lanes; here are {self.num_envs}")
        for random, state in zip(self._random, tree["random"]):
            restore_generator(random, state)
        self._mean, self._kept, self._warm = (
            torch.from_numpy(np.array(tree[name])) for name in ("mean", "kept", "warm")
        )


def _colouring(length: int, exponent: float) -> np.ndarray:
    """(H, H) float32: a matrix that turns white noise into noise of power 1 / f^exponent and unit variance."""
    # finer than a plan is long, so that its end knows nothing of its start
    frequency = np.fft.rfftfreq(8 * length)
    frequency[0] = frequency[1]
    covariance = np.fft.irfft(frequency**-exponent)[:length]
    lag = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    return np.linalg.cholesky(covariance[lag] / covariance[0]).astype(np.float32)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


class GoalPlanner:
    """A policy that plans towards goals: each lane's own `desired_goal`, or one observation to bring about."""

    def __init__(
        self,
        model: Any,
        envs: gym.vector.VectorEnv,
        seed: int = 0,
        preset: str = "cpu",
        config: PlannerConfig | None = None,
        costs: Sequence[Cost] = (GoalDistance(),),
        goal_observation: np.ndarray | None = None,
    ) -> None:
        """`model` encodes and imagines.

        `goal_observation` (D,) or (n, D) is where to go. Without one, the env must be a goal env that says how
        a goal looks: `goal_observation(goals (m, G)) -> (m, D)`. `RequestError` where it cannot.
        """
        if config is None and preset not in PRESETS:
            raise unknown_name_error("planner preset", preset, PRESETS)
        settings = config or PRESETS[preset]
        self.model, self.num_envs = model, envs.num_envs
        self._look: Callable[[np.ndarray], np.ndarray] | None = None
        self._goal: np.ndarray | None = None
        if goal_observation is None:
            self._look = getattr(envs.unwrapped, "goal_observation", None)
            if self._look is None:
                raise UsageError(
                    f"{type(envs.unwrapped).__name__} cannot say how a goal looks (goal_observation); "
                    "give the planner an observation to bring about"
                )
        else:
            goal = np.asarray(goal_observation)
            self._goal = np.broadcast_to(goal, (self.num_envs, goal.shape[-1]))
        self.planner = Planner(model, settings, envs.single_action_space, self.num_envs, seed, costs)
        self._action = np.zeros((self.num_envs, *(envs.single_action_space.shape or ())), np.float32)
        self._left = np.zeros(self.num_envs, np.int64)  # (n,) for how many more steps it is held
        self._before: np.ndarray | None = None  # (n, H, W, C) the last pictures, where pictures are seen
        self._fresh = np.ones(self.num_envs, bool)  # (n,) there is no picture before

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """(n, *A); the lanes whose action was held for a block plan anew."""
        lanes = np.flatnonzero(self._left == 0)
        seen = np.asarray(observation["observation"] if isinstance(observation, dict) else observation)
        before = self._remember(seen)
        if len(lanes):
            goal = self._goals(observation, lanes).astype(seen.dtype)
            past = None if before is None else before[lanes]
            self._action[lanes] = self.planner.plan(
                self._encode(seen[lanes], past), self._encode(goal), lanes
            )
            self._left[lanes] = self.planner.config.block
        self._left -= 1
        return self._action.copy()

    def _remember(self, seen: np.ndarray) -> np.ndarray | None:
        """Pictures (n, H, W, C) one step before these, themselves in lanes just begun; None for numbers."""
        if seen.ndim < 4:
            return None
        fresh = self._fresh.reshape(-1, 1, 1, 1)
        before = seen if self._before is None else np.where(fresh, seen, self._before)
        self._before, self._fresh = seen.copy(), np.zeros_like(self._fresh)
        return before

    def _goals(self, observation: Any, lanes: np.ndarray) -> np.ndarray:
        """(m, D): what the lanes would observe at their goals."""
        if self._goal is not None:
            return self._goal[lanes]
        assert self._look is not None
        return np.asarray(self._look(np.asarray(observation["desired_goal"])[lanes]))

    def _encode(self, seen: np.ndarray, before: np.ndarray | None = None) -> Tensor:
        """z (m, Z) of observations (m, D), or of pictures and those before; in calls of always the same size."""
        given, found = [seen] if before is None else [seen, before], []
        with torch.inference_mode():
            for part in _slices(len(seen), _ENCODED):
                rows = [values[part] for values in given]
                spare = _ENCODED - len(rows[0])
                filled = [np.concatenate([values, np.repeat(values[:1], spare, 0)]) for values in rows]
                found.append(torch.as_tensor(self.model.encode(*filled))[: len(rows[0])])
        return torch.cat(found)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """New episodes in the lanes of `mask` (n,) bool, in all without one: their plans are forgotten."""
        chosen = slice(None) if mask is None else np.asarray(mask, bool)
        self._left[chosen], self._fresh[chosen] = 0, True
        self.planner.reset(mask)

    def set_representation(self, representation: Any) -> None:
        """Go on in a newer version of the model: old plans are of no use there."""
        self.model = self.planner.model = representation
        self.reset()

    def get_checkpoint(self) -> dict[str, Any]:
        """The planner's state, and the actions being held."""
        return {
            "planner": self.planner.get_checkpoint(),
            "action": self._action.copy(),
            "left": self._left.copy(),
            "before": None if self._before is None else self._before.copy(),
            "fresh": self._fresh.copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Go on where `get_checkpoint` was, to the same bits."""
        self.planner.set_checkpoint(tree["planner"])
        self._action[...], self._left[...] = tree["action"], tree["left"]
        self._before = None if tree["before"] is None else np.array(tree["before"])
        self._fresh = np.array(tree["fresh"], bool)


AGENTS = {"planner": GoalPlanner}
