"""Policies that reach goals with a world model and without reward: planners and the inverse policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy
from robossl.core.spaces import goal_box
from robossl.world_model import WorldModel

# Row -> name of the agent in the registry, and its settings.
REWARD_FREE: dict[str, tuple[str, Mapping[str, Any]]] = {
    "planner": ("planner", {}),
    "inverse_policy": ("inverse-policy", {}),
}
# Rows of goal reaching: the planner with a given cost, in addition to its default.
PLANNER_COSTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "planner_temporal": ("planner", {"cost": "temporal"}),
    "planner_latent": ("planner", {"cost": "latent"}),
}


def missing_goals_reason(observation_space: gym.Space) -> str | None:
    """Return why no policy can be given goals in envs of this observation space; None if one can."""
    try:
        goals = goal_box(observation_space)
    except UsageError as error:
        return str(error)
    return "the env has no goals: its observation has no desired_goal" if goals is None else None


def reward_free_policies(
    envs: VectorEnv, model: WorldModel | None, seed: int, rows: Iterable[str] = tuple(REWARD_FREE)
) -> tuple[dict[str, Policy], dict[str, str]]:
    """Create the policies of `rows` for the goals of `envs`.

    Args:
        envs: Envs to act in.
        model: World model trained without reward.
        seed: Seed of the planners.
        rows: Keys of REWARD_FREE and PLANNER_COSTS.

    Returns:
        The policies by row, and the rows that cannot be created with the reason.
    """
    reason = (
        "no world model was given" if model is None else missing_goals_reason(envs.single_observation_space)
    )
    if model is None or reason is not None:
        return {}, dict.fromkeys(rows, str(reason))
    policies: dict[str, Policy] = {}
    reasons: dict[str, str] = {}
    frozen = model.frozen_copy()
    for row in rows:
        name, settings = (REWARD_FREE | PLANNER_COSTS)[row]
        try:
            policies[row] = registry.agent(name)(envs, representation=frozen, seed=seed, **settings)
        except UsageError as error:
            reasons[row] = str(error)
    return policies, reasons


def default_cost_row(policies: Mapping[str, Policy]) -> str | None:
    """Return the row of PLANNER_COSTS whose costs are those of the default planner; None if there is none."""
    default = getattr(policies.get("planner"), "costs", None)
    same = (
        row for row in PLANNER_COSTS if row in policies and getattr(policies[row], "costs", None) == default
    )
    return None if default is None else next(same, None)
