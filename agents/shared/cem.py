"""Improved cross-entropy method (iCEM): planning of action sequences in a latent dynamics model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.threads import is_small, one_thread

from .plan_distribution import make_plan_distribution
from .planning_costs import Cost, GoalDistance, ImaginedTrajectories

_POLICY_STD = 0.3  # standard deviation around the plan of a policy, in units of that of the first iteration
_ROLLOUTS_PER_CALL = 256  # about; each call of the network gets equally many, see `Planner`


class DynamicsModel(Protocol):
    """What the planner needs of a world model."""

    def imagine(self, z: Any, actions: Any, heads: Any = "mean") -> Any:
        """Return latents [N, T + 1, Z] after env actions [N, T, *A] from z [N, Z]."""


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of iCEM (Pinneri et al., "Sample-efficient Cross-Entropy Method", 2020).

    Example:
        robossl.agents.PlannerConfig(samples=128, iterations=6, horizon=10)
    """

    samples: int = 64  # action sequences of one iteration
    iterations: int = 4  # of the search in each decision
    warm_iterations: int = 0  # where the last plan is continued; 0: as `iterations`
    elites: int = 10  # best sequences; the next iteration is drawn around them
    elite_fraction_kept: float = 0.3  # of the elites, reused in the next iteration and the next plan
    horizon: int = 12  # [steps] planned ahead
    action_repeat: int = 2  # [steps] one action is applied; then a new plan is made
    noise_exponent: float = 1.0  # of the noise along a plan: 0 white, 1 pink, 2 red
    init_std: float = 0.6  # standard deviation of the first iteration, in units of half the action range
    momentum: float = 0.1  # weight of the old mean and standard deviation
    policy_samples: int = 8  # of the first iteration, drawn around the plan of a policy if there is one

    def __post_init__(self) -> None:
        """Raise UsageError for values that define no search."""
        for name in ("samples", "iterations", "elites", "horizon", "action_repeat"):
            if getattr(self, name) < 1:
                raise UsageError(f"planner setting {name}: expected 1 or more, got {getattr(self, name)}")
        if self.horizon % self.action_repeat:
            raise UsageError(
                f"planner setting horizon: expected a multiple of action_repeat {self.action_repeat}, "
                f"got {self.horizon}"
            )
        for name in ("policy_samples", "warm_iterations"):
            if getattr(self, name) < 0:
                raise UsageError(f"planner setting {name}: expected 0 or more, got {getattr(self, name)}")
        if self.elites > self.samples:
            raise UsageError(
                f"planner setting elites: expected at most samples ({self.samples}), got {self.elites}"
            )
        if not 0 <= self.elite_fraction_kept < 1:
            raise UsageError(
                "planner setting elite_fraction_kept: expected at least 0 and less than 1, "
                f"got {self.elite_fraction_kept}"
            )

    @property
    def num_decisions(self) -> int:
        """H: number of actions in a plan."""
        return self.horizon // self.action_repeat

    @property
    def num_kept(self) -> int:
        """K: number of elites that are reused."""
        return int(self.elite_fraction_kept * self.elites)

    @property
    def num_policy_samples(self) -> int:
        """P: number of samples around the plan of a policy; at least one sample is left for others."""
        return max(min(self.policy_samples, self.samples - self.num_kept - 2), 0)


PRESETS = {
    "cpu": PlannerConfig(warm_iterations=2),  # half the time, the same returns (docs/control.md)
    "paper": PlannerConfig(
        samples=300,
        iterations=30,
        elites=30,
        elite_fraction_kept=0.0,
        horizon=25,
        action_repeat=5,
        noise_exponent=0.0,
    ),
}


Proposal = Callable[
    [Tensor, Tensor], Tensor
]  # z (m, Z) and goals (m, G) to plans (m, H, A) of encoded actions


class Planner:
    """Plans for n sub-environments at once over the dynamics of a model.

    Each sub-environment has its own random generator, and each call of the network gets equally many rollouts, those
    of a sub-environment side by side. Therefore the plan of a sub-environment does not depend on `num_envs`.

    Example:
        config = robossl.agents.PlannerConfig(samples=128, horizon=10)
        planner = robossl.agents.Planner(model, config, envs.single_action_space, num_envs=8)
    """

    def __init__(
        self,
        model: DynamicsModel,
        config: PlannerConfig,
        action_space: gym.Space,
        num_envs: int = 1,
        seed: int = 0,
        costs: Sequence[Cost] = (GoalDistance(),),
        proposal: Proposal | None = None,
    ) -> None:
        """Create a planner.

        Args:
            model: The dynamics.
            config: Settings of the search.
            action_space: Action space of one sub-environment, a float Box or Discrete.
            num_envs: Number n of sub-environments.
            seed: Seed of the random generators.
            costs: Cost functions, added up.
            proposal: Plans of a policy, around which `policy_samples` of the first samples are drawn.

        Raises:
            UsageError: If the actions are neither a float Box nor Discrete.
        """
        self.model, self.config, self.num_envs, self.costs = model, config, num_envs, tuple(costs)
        self.proposal = proposal
        decisions = config.num_decisions
        self._plans = make_plan_distribution(action_space, decisions, config.noise_exponent, config.init_std)
        self._generators = [generator(seed, "planner", env_index) for env_index in range(num_envs)]
        action_dim = self._plans.action_dim
        # (n, H, A) mean of the last plan, shifted by one decision
        self._mean = torch.full((num_envs, decisions, action_dim), self._plans.initial)
        self._kept = torch.zeros(num_envs, config.num_kept, decisions, action_dim)  # (n, K, H, A) last elites
        self._warm = torch.zeros(num_envs, dtype=torch.bool)  # (n,) whether a last plan exists

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Discard the plans of the sub-environments of `mask` (n,) bool, or of all."""
        chosen = slice(None) if mask is None else torch.from_numpy(np.asarray(mask, bool))
        self._mean[chosen] = self._plans.initial
        self._warm[chosen] = False

    @torch.inference_mode()
    def plan(
        self,
        z: Tensor,
        goal: Tensor,
        env_ids: np.ndarray | None = None,
        proposals: Tensor | None = None,
    ) -> np.ndarray:
        """Plan towards goals and return the first actions.

        Args:
            z: Latents (m, Z), on the CPU.
            goal: Goals (m, G) as the costs compare them: normalized goals of the env, or latents (m, Z).
            env_ids: Sub-environments (m,) that the rows belong to; None: all.
            proposals: Encoded plans (m, P, H, A), the last P of the samples of each iteration, for example of a policy.

        Returns:
            Env actions (m, *A).
        """
        chosen = np.arange(self.num_envs) if env_ids is None else np.asarray(env_ids)
        first_actions = torch.empty(len(chosen), self._plans.action_dim)
        warm, config = self._warm[torch.from_numpy(chosen)], self.config
        groups = (~warm, config.iterations), (warm, config.warm_iterations or config.iterations)
        with one_thread(not isinstance(self.model, torch.nn.Module) or is_small(self.model.parameters())):
            for group, iterations in groups:
                rows = group.nonzero()[:, 0]
                for part in rows.split(self._envs_per_call) if len(rows) else ():
                    given = None if proposals is None else proposals[part]
                    env_part = chosen[part.numpy()]
                    first_actions[part] = self._search(z[part], goal[part], env_part, given, iterations)
        return self._plans.to_env(first_actions).numpy()

    @property
    def _envs_per_call(self) -> int:
        return max(_ROLLOUTS_PER_CALL // self.config.samples, 1)

    def _search(
        self, z: Tensor, goal: Tensor, env_ids: np.ndarray, proposals: Tensor | None, iterations: int
    ) -> Tensor:
        """Return the first encoded action (m, A) of the best plan of each sub-environment."""
        config, index = self.config, torch.from_numpy(env_ids)
        mean, std = self._plans.start(self._mean[index])  # (m, H, A)
        kept, cold = self._kept[index], ~self._warm[index]
        generators = [self._generators[env_index] for env_index in env_ids]
        for iteration in range(iterations):
            plans = self._plans.draw(mean, std, generators, config.samples)  # (m, S, H, A)
            if iteration == 0 and self.proposal is not None and config.num_policy_samples:
                first, count = 1 + config.num_kept, config.num_policy_samples
                proposed = self.proposal(*self._padded(z, goal))[: len(z)].cpu()
                around = self._plans.draw(proposed, _POLICY_STD * std, generators, count)
                plans[:, first : first + count] = around
            reused = torch.where(cold[:, None, None, None], plans[:, 1 : 1 + config.num_kept], kept)
            plans[:, 1 : 1 + config.num_kept] = reused
            if proposals is not None:
                plans[:, -proposals.shape[1] :] = proposals
            order = self._cost(z, goal, plans).topk(config.elites, dim=1, largest=False).indices
            elite = torch.take_along_dim(plans, order[:, :, None, None], 1)  # (m, E, H, A) best first
            mean = config.momentum * mean + (1 - config.momentum) * elite.mean(1)
            std = config.momentum * std + (1 - config.momentum) * elite.std(1, correction=0)
            kept, cold = elite[:, : config.num_kept], torch.zeros_like(cold)
        self._mean[index] = torch.cat([mean[:, 1:], mean[:, -1:]], 1)
        self._kept[index] = torch.cat([kept[:, :, 1:], kept[:, :, -1:]], 2)
        self._warm[index] = True
        return elite[:, 0, 0]

    def _cost(self, z: Tensor, goal: Tensor, plans: Tensor) -> Tensor:
        """Return the costs (m, S) of plans (m, S, H, A); padding fills the call up to its size."""
        m, samples = plans.shape[:2]
        z, goal, plans = self._padded(z, goal, plans)
        steps = plans.repeat_interleave(self.config.action_repeat, 2).flatten(0, 1)  # (N, T, A)
        start = z.repeat_interleave(samples, 0)
        path = self.model.imagine(start, self._plans.to_env(steps), heads="first")[:, 1:]
        goals = goal.to(path.device).repeat_interleave(samples, 0)
        imagined = ImaginedTrajectories(path, steps.to(path.device), goals, start.to(path.device))
        total = sum((cost(imagined) for cost in self.costs), torch.zeros(steps.shape[:2], device=path.device))
        return total.sum(-1).reshape(-1, samples)[:m].cpu()

    def _padded(self, *parts: Tensor) -> list[Tensor]:
        """Return tensors (m, ...) filled up with zeros to the number of sub-environments in a call."""
        return [
            torch.cat([part, part.new_zeros(self._envs_per_call - len(part), *part.shape[1:])])
            for part in parts
        ]

    def get_checkpoint(self) -> dict[str, Any]:
        """Return generator states and the last plans."""
        return {
            "generators": [generator_state(g) for g in self._generators],
            "mean": self._mean.numpy().copy(),
            "kept": self._kept.numpy().copy(),
            "warm": self._warm.numpy().copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        if len(tree["generators"]) != self.num_envs:
            raise UsageError(
                f"expected a checkpoint of {self.num_envs} sub-environments, got {len(tree['generators'])}"
            )
        for rng, state in zip(self._generators, tree["generators"]):
            restore_generator(rng, state)
        self._mean, self._kept, self._warm = (
            torch.from_numpy(np.array(tree[name])) for name in ("mean", "kept", "warm")
        )
