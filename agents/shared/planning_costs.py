"""Cost functions for planners: each returns a cost for every imagined step; a planner adds them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robossl.core.errors import UsageError, unknown_name_error
from robossl.world_model import WorldModel
from robossl.world_model.goal_heads import GoalHeads
from robossl.world_model.model import disagreement


class ImaginedTrajectories(NamedTuple):
    """N imagined rollouts of T steps."""

    latent: Tensor  # [N, T, Z] after each action
    action: Tensor  # [N, T, A] encoded: in [-1, 1], or one-hot
    goal: Tensor  # [N, G] normalized goals of the env, or latents [N, Z]
    start: Tensor | None = None  # [N, Z] before the first action


Cost = Callable[[ImaginedTrajectories], Tensor]  # [N, T], the cost of each step


@dataclass(frozen=True)
class GoalDistance:
    """Mean squared distance to the goal at every step; rewards reaching it early and staying.

    With goal heads of a goal env it is the distance of the achieved goals, normalized; else of the latents.
    """

    final_weight: float = 1.0  # extra weight of the last step; the weight rises linearly from 1
    heads: GoalHeads | None = None
    weight: float = 1.0

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]."""
        achieved = imagined.latent if self.heads is None else self.heads.achieved(imagined.latent)
        distance = (achieved - imagined.goal[:, None]).square().mean(-1)
        rising = torch.linspace(1.0, 1.0 + self.final_weight, distance.shape[1], device=distance.device)
        return self.weight * distance * rising


@dataclass(frozen=True)
class TemporalDistance:
    """Predicted log(1 + steps) to the goal after the last action, as far as it is beyond the T steps of a plan.

    Nearer goals are left to the distance of the goals: recorded behavior passes by a goal, so that the temporal
    distance is flat and noisy there.
    """

    heads: GoalHeads
    weight: float = 1.0

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]; 0 before the last step."""
        cost = torch.zeros_like(imagined.latent[..., 0])
        predicted = self.heads.log_distance(imagined.latent[:, -1], imagined.goal)
        cost[:, -1] = self.weight * (predicted - math.log1p(cost.shape[1])).clamp_min(0.0)
        return cost


@dataclass(frozen=True)
class ControlCost:
    """Mean squared action of every step."""

    weight: float = 0.01

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]."""
        return self.weight * imagined.action.square().mean(-1)


@dataclass(frozen=True)
class Disagreement:
    """Disagreement of the ensemble at every step but the first, where the plan leaves the training data."""

    model: WorldModel
    weight: float = 0.1

    def __call__(self, imagined: ImaginedTrajectories) -> Tensor:
        """Return the cost [N, T]."""
        predictions = self.model.ensemble_predictions(imagined.latent[:, :-1], imagined.action[:, 1:])
        return self.weight * torch.nn.functional.pad(disagreement(predictions), (1, 0))


# name of the setting `cost` -> weights of the cost functions; without goals, "goal" is the distance of latents
MIXTURES: dict[str, dict[str, float]] = {
    "latent": {"latent": 1.0},
    "goal": {"goal": 1.0},
    "temporal": {"temporal": 1.0, "goal": 0.3},
}
COSTS = ("latent", "goal", "temporal", "control", "disagreement")


def cost_weights(cost: str | Mapping[str, float]) -> dict[str, float] | None:
    """Return the weights of a setting `cost`; None for "auto".

    Raises:
        UsageError: The name is unknown, a weight is no number, or latents are compared together with goals.
    """
    if isinstance(cost, str):
        if cost not in ("auto", *MIXTURES):
            raise unknown_name_error("planner cost", cost, ("auto", *MIXTURES))
        return None if cost == "auto" else MIXTURES[cost]
    weights = {}
    for name, weight in cost.items():
        if name not in COSTS:
            raise unknown_name_error("planner cost", name, COSTS)
        if not isinstance(weight, (int, float)) or isinstance(weight, bool):
            raise UsageError(f"planner cost {name}: expected a weight, got {weight!r}")
        weights[name] = float(weight)
    if not weights.keys() & {"latent", "goal", "temporal"}:
        raise UsageError(
            f"planner cost: expected one of latent, goal, temporal, got {', '.join(weights) or 'none'}"
        )
    if "latent" in weights and weights.keys() & {"goal", "temporal"}:
        raise UsageError(
            "planner cost: expected latent without goal and temporal, got both; replace latent by goal"
        )
    return weights


def resolve_costs(
    weights: dict[str, float] | None, model: Any, latent_goals: bool
) -> tuple[tuple[Cost, ...], GoalHeads | None]:
    """Return the cost functions for a model, and the goal heads that they use, if any.

    Args:
        weights: As `cost_weights` returns them; None: `latent` with `latent_goals`, else `temporal`
            (docs/control.md has both measured).
        model: A world model.
        latent_goals: Whether there are observations of the goals whose latents can be compared.

    Raises:
        UsageError: A cost needs goal heads and the model has none, or those of another version.
    """
    heads: GoalHeads | None = getattr(model, "goal_heads", None)
    if weights is None:
        weights = MIXTURES["latent" if latent_goals or heads is None else "temporal"]
    needs_heads = bool(weights.keys() & {"goal", "temporal"})
    if not needs_heads:
        heads = None
    elif heads is None:
        raise UsageError(
            f"planner cost {', '.join(weights)}: expected a world model with goal heads, got none; fit them with "
            "robossl.world_model.goal_heads.fit_goal_heads, or use cost latent"
        )
    else:
        heads.check_version(model.version)
    make: dict[str, Callable[[float], Cost]] = {
        "latent": lambda weight: GoalDistance(weight=weight),
        "goal": lambda weight: GoalDistance(heads=heads, weight=weight),
        "temporal": lambda weight: TemporalDistance(heads, weight),  # type: ignore[arg-type]
        "control": ControlCost,
        "disagreement": lambda weight: Disagreement(model, weight),
    }
    return tuple(make[name](weight) for name, weight in weights.items()), heads
