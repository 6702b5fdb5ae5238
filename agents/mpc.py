"""Model-predictive control with learned rewards: iCEM in the world model, with a policy and a pessimistic value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import Space, spaces
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, Observation
from robossl.core.seeding import derive
from robossl.streams import Stream
from robossl.streams.relabel import RewardFunction
from robossl.world_model import WorldModel
from robossl.world_model.goal_predictor import DESIRED

from .imagination_sac import ImaginationConfig, ImaginationSac
from .shared.cem import Planner, PlannerConfig
from .shared.planning_costs import Cost
from .shared.reward_costs import PessimisticValue, PredictedReward

_EXPLORATION_STD = 0.1  # of the noise added to explored actions, in units of half the action range
_EXPLORATION_RATE = 0.1  # probability that an explored discrete action is uniform


@dataclass(frozen=True)
class MpcConfig(ImaginationConfig):
    """Settings of `mpc`."""

    value: bool = True  # add the value of the state after the last step
    horizon: int = 3  # [steps] planned ahead; without value 12 is better
    samples: int = 64  # action sequences of one iteration
    iterations: int = 4
    policy_samples: int = 8  # of the samples, drawn from the policy

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        super().__post_init__()
        self.planner()
        if not 0 <= self.policy_samples < self.samples:
            raise UsageError(
                f"policy_samples: expected at least 0 and less than samples ({self.samples}), got {self.policy_samples}"
            )

    def planner(self) -> PlannerConfig:
        """Return the settings of the search."""
        elites = min(10, self.samples)
        return PlannerConfig(
            self.samples, self.iterations, elites=elites, horizon=self.horizon, action_repeat=1
        )


class MpcAgent(ImaginationSac):
    """Plans for sum of gamma^t r(z_t, a_t) + gamma^H min_i Q_i(z_H, pi(z_H)), and learns as `imagination-sac`.

    Each iteration of the search has a few action sequences of the policy among its samples. The minimum over the
    critics is used in the score and in their targets, because a search finds what a single critic overestimates.
    """

    name = "mpc"
    config_class: ClassVar[type[ImaginationConfig]] = MpcConfig
    config: MpcConfig

    def __init__(
        self,
        envs: VectorEnv,
        representation: WorldModel | None = None,
        seed: int = 0,
        device: str = "auto",
        stream: Stream | None = None,
        reward: RewardFunction | None = None,
        updates_per_step: float | None = None,
        learning_starts: int | None = None,
        **settings: Any,
    ) -> None:
        """Create the agent; arguments as those of `imagination-sac`, settings are the fields of `MpcConfig`."""
        super().__init__(
            envs, representation, seed, device, stream, reward, updates_per_step, learning_starts, **settings
        )
        self._planners: dict[int, Planner] = {}  # by number of sub-environments
        self._noise = torch.Generator().manual_seed(derive(self.seed, self.name, "noise"))

    # --- acting

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return the first actions (n, *A) of the best plans, for any n; uniform ones before the reward is fitted."""
        state = self.state
        if state is None:
            return self._first_actions(observation)
        z = self._encode(observation)
        desired = state.scale(observation[DESIRED]) if state.goals is not None else z.new_zeros(len(z), 1)
        planner = self._planner(len(z))
        planner.costs = self._costs()
        proposals = self._policy_plans(z, desired)
        env_actions = planner.plan(
            z.cpu(), desired.cpu(), None, None if proposals is None else proposals.cpu()
        )
        if not explore:
            return self._clip(env_actions)
        action = self.model.action_processor(env_actions)
        if self.model.action_processor.discrete:
            chosen = torch.rand(len(z), generator=self._noise) < _EXPLORATION_RATE
            uniform = torch.rand(action.shape, generator=self._noise)
            return self._to_env(
                torch.where(chosen[:, None].to(action.device), uniform.to(action.device), action)
            )
        noise = torch.randn(action.shape, generator=self._noise).to(action.device)
        return self._to_env((action + _EXPLORATION_STD * noise).clamp(-1, 1))

    @classmethod
    def _supports(cls, actions: Space, settings: Mapping[str, Any]) -> bool:
        """Return whether the agent supports the actions; its policy and value need a Box."""
        config = MpcConfig(**settings)
        searches_only = not config.value and not config.policy_samples
        return super()._supports(actions, settings) or (
            isinstance(actions, spaces.Discrete) and searches_only
        )

    def _update(self, logger: MetricLogger | None, step: int) -> None:
        """Take a gradient step of the actor-critic, unless the search uses neither policy nor value."""
        if self.config.value or self.config.policy_samples:
            super()._update(logger, step)

    def _costs(self) -> tuple[Cost, ...]:
        state = self.state
        assert state is not None
        assert state.reward is not None
        costs: tuple[Cost, ...] = (PredictedReward(state.reward, state, self.config.gamma),)
        if self.config.value:
            costs += (PessimisticValue(self.learner.actor_critic, state.reward, state),)
        return costs

    @torch.no_grad()
    def _policy_plans(self, z: Tensor, desired: Tensor) -> Tensor | None:
        """Return action sequences (n, P, H, A) that the policy samples in the model."""
        count, state = self.config.policy_samples, self.state
        if count == 0 or state is None:
            return None
        latent, goal = z.repeat_interleave(count, 0), desired.repeat_interleave(count, 0)  # (n P, ...)
        actions = []
        for _ in range(self.config.horizon):
            shape = (*latent.shape[:1], self.model.action_processor.dim)
            noise = torch.randn(shape, generator=self._noise).to(latent.device)
            actions.append(self.learner.actor_critic.actor.sample(state.of_latents(latent, goal), noise)[0])
            latent = self.model.step(latent, actions[-1], heads="first")
        return torch.stack(actions, 1).reshape(len(z), count, self.config.horizon, -1)

    def _planner(self, num_envs: int) -> Planner:
        if num_envs not in self._planners:
            self._planners[num_envs] = Planner(
                self.model, self.config.planner(), self.envs.single_action_space, num_envs, self.seed
            )
        return self._planners[num_envs]

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all; discard their plans."""
        if mask is None:
            for planner in self._planners.values():
                planner.reset()
        else:
            self._planner(len(mask)).reset(mask)

    def set_representation(self, representation: WorldModel) -> None:
        """Switch to a newer version of the world model and discard the plans made with the old one."""
        super().set_representation(representation)
        for planner in self._planners.values():
            planner.model = self.model
            planner.reset()

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, except the world model, the envs and the streams."""
        return {
            **super().get_checkpoint(),
            "planner": self._planner(self.envs.num_envs).get_checkpoint(),
            "noise": self._noise.get_state().numpy().copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`; the envs and streams must have been restored as well."""
        super().set_checkpoint(tree)
        self._planner(self.envs.num_envs).set_checkpoint(tree["planner"])
        self._noise.set_state(torch.from_numpy(np.array(tree["noise"], np.uint8)))


AGENTS = {"mpc": MpcAgent}
