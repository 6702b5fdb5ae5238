"""A complete report from toys: metrics of a slightly wrong model, goal reaching of a point, synthetic control rows."""

from __future__ import annotations

import copy
import functools

import numpy as np
from evaluation_envs import PointGoal, PointStream, RandomPolicy, StraightPolicy
from evaluation_toys import MixedModel, ToyStream

from robossl.core.agent_observation import ROWS
from robossl.core.statistics import mean_ci, proportion_ci
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import reach_goals
from robossl.evaluation.model_metrics import evaluate_world_model
from robossl.evaluation.report.report_file import build

MODEL = {"version": 1, "updates": 1200, "transitions": 48_000}


class BlurredModel(MixedModel):
    """Nearly perfect model: each step of its dynamics is 25 % too large."""

    def predict(self, z, action):
        return super().predict(z, action) + 0.25 * (super().predict(z, action) - z)


def synthetic_control(seed: int = 0) -> dict:
    """Return a control section with learning curves."""
    random = np.random.default_rng(seed)
    rows = {}
    final_returns = {
        "planner": 150.0,
        "inverse_policy": 130.0,
        "observation": 110.0,
        "latent_observation": 140.0,
        "random": 12.0,
        "zero_action": 8.0,
    }
    for name, final in final_returns.items():
        returns = np.maximum(final + random.normal(0, 0.15 * final, 20), 0)
        rows[name] = {"return": mean_ci(returns), "length": mean_ci(np.full(20, 200.0))}
        rows[name]["success"] = proportion_ci(int(min(20, max(0, round(final / 8)))), 20)
        rows[name]["ms_per_decision"] = {"planner": 6.0, "inverse_policy": 0.05}.get(name, 0.01)
        if name in ROWS:
            means = [final * (1 - np.exp(-step / 6000)) for step in (4000, 8000, 12000, 16000)]
            rows[name]["curve"] = [[4000 * (i + 1), m, m - 14, m + 14] for i, m in enumerate(means)]
    return {"model": MODEL, "agent": "sac", "steps": 16000, "rows": rows}


def complete_report(without_control: bool = False) -> dict:
    """Return a report with all sections, or with goal reaching and control missing for a reason."""
    return copy.deepcopy(_report(without_control))


def context_with(results: dict, missing: dict | None = None) -> EvaluationContext:
    """Return a context with these results and nothing to compute."""
    return EvaluationContext(env="robossl/Reacher-v0", results=results, missing=dict(missing or {}))


@functools.cache
def _report(without_control: bool) -> dict:
    world_model, missing = evaluate_world_model(BlurredModel(), ToyStream(), step_seconds=0.04)
    results = {"world_model": world_model | {"updates": 2000, "transitions": 48_000}}
    missing = {f"world_model.{key}": reason for key, reason in missing.items()}
    if without_control:
        missing |= {"goal_reaching": "the env has no <goals>", "control": "no environment steps were left"}
    else:
        policies = {
            "planner": StraightPolicy(),
            "inverse_policy": StraightPolicy(),
            "random": RandomPolicy(32),
        }
        found, _ = reach_goals(PointGoal(32), PointStream(), policies, horizons=(5, 10), trials=60)
        results["goal_reaching"] = {"model": MODEL, "planner": "planner_temporal", **found}
        results["control"] = synthetic_control()
    results["diagnostics"] = {
        "forward_error": 0.0123,
        "inverse_r2": 0.97,
        "messages": ["no problem found"],
    }
    results["provenance"] = {
        "command": "robossl learn --seed 0",
        "config": 'env = "robossl/Reacher-v0"\n[world_model]\nlatent_dim = 64\n',
        "platform": "Linux",
        "cores": 2,
    }
    context = context_with(results, missing)
    context.seconds = {
        "explore": 3.1,
        "pretrain": 80.2,
        "goals": 21.0,
        "act (latent_observation)": 77.0,
        "evaluate": 9.5,
    }
    return build(context)
