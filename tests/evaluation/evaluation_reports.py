"""A whole report from toys: real diagnostics of a slightly wrong model, real goals, made-up control rows."""

from __future__ import annotations

import copy
import functools

import numpy as np
from evaluation_envs import PointGoal, PointStream, RandomPolicy, Straight
from evaluation_toys import MixedModel, ToyStream

from robossl.core.statistics import mean_ci, proportion_ci
from robossl.evaluation.goal_reaching import reach_goals
from robossl.evaluation.model_metrics import diagnose
from robossl.evaluation.report.report_file import build


class BlurredModel(MixedModel):
    """Nearly right: its dynamics are a little too lively."""

    def predict(self, z, action):
        return super().predict(z, action) + 0.25 * (super().predict(z, action) - z)


def made_control(seed: int = 0) -> dict:
    """Rows as the lab makes them, with curves."""
    random = np.random.default_rng(seed)
    rows = {}
    for name, end in (("representation", 140.0), ("raw", 110.0), ("random", 12.0), ("do_nothing", 8.0)):
        returns = np.maximum(end + random.normal(0, 0.15 * end, 20), 0)
        rows[name] = {"return": mean_ci(returns), "length": mean_ci(np.full(20, 200.0))}
        rows[name]["success"] = proportion_ci(int(min(20, max(0, round(end / 8)))), 20)
        if end > 50:
            means = [end * (1 - np.exp(-step / 6000)) for step in (4000, 8000, 12000, 16000)]
            rows[name]["curve"] = [[4000 * (i + 1), m, m - 14, m + 14] for i, m in enumerate(means)]
    return {"agent": "sac", "steps": 16000, "rows": rows}


def whole(absent: bool = False) -> dict:
    """A report with everything in it, or with goals and control missing for a reason."""
    return copy.deepcopy(_whole(absent))


@functools.cache
def _whole(absent: bool) -> dict:
    model = BlurredModel()
    world, missing = diagnose(model, ToyStream(), step_seconds=0.04)
    world |= {"updates": 2000, "rows": 48_000}
    sections = {}
    if absent:
        missing |= {"goals": "the env has no <goals>", "control": "no environment steps were left"}
    else:
        envs = PointGoal(32)
        policies = {"planner": Straight(), "random": RandomPolicy(32)}
        sections["goals"] = reach_goals(envs, PointStream(), policies, offset=10, pairs=60)
        sections["control"] = made_control()
    return build(
        env="robossl/Reacher-v0",
        seed=0,
        versions={"python": "3.11.2", "robossl": "0.1.0", "torch": "2.13.0"},
        device="cpu",
        seconds={
            "explore": 3.1,
            "pretrain": 80.2,
            "goals": 21.0,
            "act (representation)": 77.0,
            "evaluate": 9.5,
        },
        world=world,
        health={
            "forward_error": 0.0123,
            "inverse_r2": 0.97,
            "words": ["well: it predicts and tells actions apart"],
        },
        made={
            "command": "robossl learn --seed 0",
            "config": 'env = "robossl/Reacher-v0"\n[world]\nlatent = 64\n',
        },
        absent=missing,
        **sections,
    )
