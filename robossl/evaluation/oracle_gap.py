"""Oracle gap: the same planner with the dynamics of the true simulator, and a search with the true reward.

The difference between the first two rows is what errors of the learned dynamics cost; encoder, goals, costs and search
are the same. The difference to the third row is what the costs of the planner miss of the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Action, Observation, PhysicsStateEnv, Policy
from robossl.core.spaces import is_image, model_inputs
from robossl.core.statistics import paired_difference
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import Episodes, evaluate_returns
from robossl.evaluation.oracle_planner import OraclePlanner
from robossl.evaluation.policy_wrappers import TimedPolicy
from robossl.evaluation.reward_free import REWARD_FREE, missing_goals_reason
from robossl.world_model import WorldModel

ROWS = ("planner", "planner_true_dynamics", "planner_true_reward")
_MAX_ENVS = 8  # sub-environments; the true simulator needs all samples of each
_MAX_EPISODES = 10


class TrueDynamicsModel(WorldModel):
    """World model whose imagination is the simulator: it steps copies of an env and encodes what they observe."""

    _make_envs: Callable[[int], VectorEnv]
    _copies: VectorEnv | None = None  # as many sub-environments as rollouts of a call
    _physics: np.ndarray  # (n, P) states in which imagination begins
    _latents: Tensor  # (n, Z) of these states

    @classmethod
    def from_model(cls, model: WorldModel, make_envs: Callable[[int], VectorEnv]) -> TrueDynamicsModel:
        """Return a model with the weights and goal heads of `model`, and envs of `make_envs(num_envs)`."""
        created = cls(model.config, model.observation_space, model.action_space, model.seed)
        created.load_state_dict(model.state_dict())
        created.version, created.goal_heads = model.version, model.goal_heads
        created._make_envs = make_envs
        return created.requires_grad_(False).eval()

    def close(self) -> None:
        """Close the envs."""
        if self._copies is not None:
            self._copies.close()

    def set_states(self, physics: np.ndarray, observation: Observation) -> None:
        """Set the states (n, P) in which imagination may begin, and the observations (n, ...) there."""
        self._physics, self._latents = physics, torch.as_tensor(self.encode(observation))

    def imagine(self, z: Any, actions: Any, heads: Any = "mean") -> Any:
        """Return latents (N, T+1, Z) of the simulator after env actions (N, T, *A) from the states of z (N, Z).

        The state of a latent is the one of `set_states` with the nearest latent.
        """
        if self._copies is None or self._copies.num_envs != len(z):
            self.close()
            self._copies = self._make_envs(len(z))
        copies, env_actions = self._copies, np.asarray(actions)
        index = torch.cdist(z, self._latents).argmin(1).numpy()
        copies.reset()
        cast(PhysicsStateEnv, copies.unwrapped).set_physics_state(self._physics[index])
        latents, running = [z], torch.ones(len(z), 1, dtype=torch.bool)
        for step in range(env_actions.shape[1]):
            observation, _, terminated, truncated, _ = copies.step(env_actions[:, step])
            later = torch.as_tensor(self.encode(observation))
            latents.append(
                torch.where(running, later, latents[-1])
            )  # an episode that ended stays where it was
            running &= torch.from_numpy(~(terminated | truncated))[:, None]
        return torch.stack(latents, 1)


class _TrueDynamicsPlanner:
    """Policy that gives the states of its envs to the model of a planner."""

    def __init__(self, planner: Policy, model: TrueDynamicsModel, envs: VectorEnv) -> None:
        self._planner, self._model, self._envs = planner, model, envs

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return the actions of the planner."""
        self._model.set_states(cast(PhysicsStateEnv, self._envs.unwrapped).get_physics_state(), observation)
        return self._planner.act(observation, explore=explore)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""
        self._planner.reset(mask)


def evaluate_oracle_gap(context: EvaluationContext, episodes: int | None = None) -> dict[str, Any]:
    """Evaluate a planner with learned and with true dynamics on the same held-out episodes.

    Args:
        context: Provides the env and the world model.
        episodes: Number of episodes; at most 10 of those of the context if None.

    Returns:
        {"episodes", "rows": {row: {"return", "success", "ms_per_decision", "difference": to the row "planner"}},
        "gap": {"dynamics" | "costs": estimate of the difference between two rows}}. Rows that do not apply are left
        out, with the reason in `context.missing`.

    Raises:
        UsageError: The env cannot be set to states, so that there is no true simulator.
    """
    episodes = min(context.episodes, _MAX_EPISODES) if episodes is None else episodes
    seed, settings = context.evaluation_seed, context.observation_settings
    num_envs = min(episodes, _MAX_ENVS)
    envs = context.envs(num_envs, **settings)
    measured: dict[str, Episodes] = {}
    rows: dict[str, dict[str, Any]] = {}
    true_model: TrueDynamicsModel | None = None
    try:
        if not isinstance(envs.unwrapped, PhysicsStateEnv):
            raise UsageError("the env cannot be set to a state, so there is no true simulator to plan in")
        policies: dict[str, Policy] = {}
        reason = _missing_planner(context, envs)
        if reason is None:
            model, (name, values) = (
                cast(WorldModel, context.model).frozen_copy().cpu(),
                REWARD_FREE["planner"],
            )
            true_model = TrueDynamicsModel.from_model(model, lambda count: context.envs(count, **settings))
            planner, oracle = (
                registry.agent(name)(envs, representation=each, seed=seed, **values)
                for each in (model, true_model)
            )
            policies = {
                "planner": planner,
                "planner_true_dynamics": _TrueDynamicsPlanner(oracle, true_model, envs),
            }
        else:
            context.missing.update({f"oracle_gap.rows.{row}": reason for row in ROWS[:2]})
        try:
            policies["planner_true_reward"] = OraclePlanner(envs, context.threads, seed)
        except UsageError as error:
            context.missing["oracle_gap.rows.planner_true_reward"] = str(error)
        if not policies:
            raise UsageError("no planner can act in this env")
        policies["random"] = registry.policy("random")(envs.single_action_space, num_envs, seed=seed)
        for row, policy in policies.items():
            timed = TimedPolicy(policy)
            measured[row] = evaluate_returns(envs, timed, episodes, seed, progress=context.progress)
            rows[row] = {**measured[row].summary(seed), "ms_per_decision": timed.milliseconds}
    finally:
        envs.close()
        if true_model is not None:
            true_model.close()
    return {"episodes": episodes, "rows": rows, "gap": _gaps(measured, seed)}


def _missing_planner(context: EvaluationContext, envs: VectorEnv) -> str | None:
    """Return why the planner cannot act in the true simulator; None if it can."""
    if context.model is None:
        return "no world model was given"
    if reason := missing_goals_reason(envs.single_observation_space):
        return reason
    if any(is_image(leaf) for leaf in model_inputs(envs.single_observation_space).values()):
        return "the simulator is not rendered in a search: expected observations without images"
    return None


def _gaps(measured: dict[str, Episodes], seed: int) -> dict[str, Any]:
    """Return the differences in return between neighbouring rows."""
    pairs = {"dynamics": ROWS[:2], "costs": ROWS[1:]}
    return {
        name: paired_difference(measured[better].returns, measured[row].returns, seed)
        for name, (row, better) in pairs.items()
        if row in measured and better in measured
    }
