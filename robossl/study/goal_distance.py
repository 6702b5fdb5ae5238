"""Success against goal distance: the policies of a stream seed without reward, beside random actions."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from robossl.core.interfaces import Policy
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import evaluate_goal_reaching
from robossl.evaluation.reward_free import PLANNER_COSTS, REWARD_FREE, reward_free_policies
from robossl.study.jobs import goal_task
from robossl.study.preparation import Preparation
from robossl.study.study_folder import Study


def measure_goals(study: Study, preparation: Preparation, seed: int, threads: int) -> dict[str, Any]:
    """Return goal reaching at each distance for one stream seed, as the section `goal_reaching` of a report.

    Args:
        study: A study whose env has goals.
        preparation: Has its stream and its world model.
        seed: The stream seed.
        threads: CPU threads of the envs.

    Raises:
        UsageError: Goals cannot be evaluated on this stream.
    """
    sizes, model = study.spec.sizes, preparation.model(seed, "world_model")
    stream = preparation.stream(seed)
    try:
        context = EvaluationContext(
            env=str(goal_task(study)), seed=seed, model=model, stream=stream, goal_trials=sizes.goal_trials,
            goal_horizons=sizes.goal_horizons, threads=threads,
        )  # fmt: skip

        def policies(envs: VectorEnv) -> dict[str, Policy]:
            made, reasons = reward_free_policies(envs, model, seed, (*REWARD_FREE, *PLANNER_COSTS))
            context.missing |= {f"goal_reaching.rows.{row}": reason for row, reason in reasons.items()}
            return made

        found = evaluate_goal_reaching(context, policies)
        return {**found, "missing": context.missing}
    finally:
        stream.close()
