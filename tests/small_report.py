"""A report with a few rows of every section, written by hand."""

from __future__ import annotations

from typing import Any


def estimate(mean: float, width: float = 0.1) -> dict[str, Any]:
    """Return an estimate with an interval."""
    return {"mean": mean, "low": mean - width, "high": mean + width, "n": 20}


def small_report() -> dict[str, Any]:
    """Return a report of a goal env with planner, inverse policy and baselines."""
    returns = {
        "planner": 185.0,
        "inverse_policy": 190.0,
        "observation": 165.0,
        "random": 22.0,
        "zero_action": 19.0,
    }
    goals = {"planner": (1.0, 0.9), "random": (0.1, 0.0)}
    criteria = ("reached_any", "reached_final", "sustained")
    return {
        "format": 2,
        "env": "robossl/Reacher-v0",
        "seed": 0,
        "versions": {"robossl": "0.1.0"},
        "device": "cpu",
        "seconds": {"explore": 1.0},
        "missing": {"ablation": "no ablation was requested"},
        "control": {
            "agent": "sac",
            "rows": {
                name: {"return": estimate(value, 9.0), "success": estimate(value / 200)}
                for name, value in returns.items()
            },
        },
        "goal_reaching": {
            "horizons": {"10": {"budget": 20}, "50": {"budget": 100}},
            "rows": {
                name: {
                    h: {c: estimate(rate) for c in criteria} | {"steps_to_goal": 8.0}
                    for h, rate in zip(("10", "50"), rates)
                }
                for name, rates in goals.items()
            },
        },
        "world_model": {
            "prediction_skill": {"1": estimate(0.99, 0.001), "10": estimate(0.95, 0.01)},
            "forward_linear": {"1": 0.8, "10": 0.4},
            "forward_curve": {
                "steps": [1, 2, 3],
                "model": [0.99, 0.98, 0.97],
                "encoder_bound": [1.0, 1.0, 1.0],
                "linear": [0.8, 0.7, 0.6],
            },
        },
    }
