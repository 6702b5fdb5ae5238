"""Synthetic cells of a transfer study: rows with a known effect on each task."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.statistics import proportion_ci
from robossl.evaluation.transfer_summary import StudyInfo

TASKS = ("robossl/WalkerWalk-v0", "robossl/WalkerRun-v0")
RANDOM = {TASKS[0]: 4.0, TASKS[1]: 2.5}
REFERENCE = {TASKS[0]: 114.0, TASKS[1]: 34.0}
# row -> true score on each task
EFFECTS = {
    "random": (0.0, 0.0), "zero_action": (-0.02, -0.02), "observation": (0.5, 0.3), "random_latent": (0.35, 0.2),
    "pca": (0.5, 0.3), "autoencoder": (0.45, 0.28), "latent": (0.75, 0.31), "finetune": (0.8, 0.5),
    "time_shuffled": (0.35, 0.2), "scrambled_state": (0.95, 0.9), "noise": (0.0, 0.0), "reference": (1.0, 1.0),
}  # fmt: skip
WITHOUT_LEARNING = ("random", "zero_action", "reference")


def study_info(**changes: Any) -> StudyInfo:
    """Return the protocol of the synthetic study."""
    values: dict[str, Any] = {
        "robot": "walker", "protocol": "3f9c2a71b0d84e55", "budget": "standard", "tasks": TASKS,
        "rows": tuple(EFFECTS), "baseline_of": {"time_shuffled": "random_latent"}, "random": RANDOM,
        "reference": REFERENCE, "steps": {"stream_steps": 100_000, "updates": 20_000},
        "goals": {
            name: {h: proportion_ci(round(200 * rate**(i + 1)), 200) for i, h in enumerate(("10", "25", "50", "100"))}
            for name, rate in (("planner", 0.9), ("inverse_policy", 0.8), ("random", 0.3))
        },
    }  # fmt: skip
    return StudyInfo(**(values | changes))


def make_cells(streams: int = 3, agents: int = 3, episodes: int = 20, effects: dict | None = None) -> list:
    """Return the cells of all rows, tasks and seeds."""
    random = np.random.default_rng(0)
    cells = []
    for row, means in (effects or EFFECTS).items():
        for task, mean in zip(TASKS, means):
            for stream in range(streams):
                of_stream = random.normal(0, 0.03)
                for agent in range(agents):
                    cells.append(_cell(row, task, stream, agent, mean + of_stream, episodes, random))
    return cells


def failed_cell(row: str, task: str, stream: int = 0, agent: int = 0) -> dict:
    """Return a cell that failed."""
    error = "OperationError: the agent's <weights> are not finite after 400 updates"
    return {"protocol": study_info().protocol, "row": row, "task": task, "stream_seed": stream, "agent_seed": agent,
            "error": error}  # fmt: skip


def _cell(row: str, task: str, stream: int, agent: int, mean: float, episodes: int, random: Any) -> dict:
    scale = REFERENCE[task] - RANDOM[task]
    learns = row not in WITHOUT_LEARNING
    score = mean + (random.normal(0, 0.05) if learns else 0.0)
    pretrained = 100_000 if row in ("latent", "finetune", "autoencoder", "pca", "time_shuffled") else 0

    def returns(fraction: float) -> list[float]:
        return (RANDOM[task] + scale * score * fraction + random.normal(0, 0.05 * scale, episodes)).tolist()

    curve = [
        {
            "updates": 1000,
            "labeled_steps": steps,
            "all_steps": steps + pretrained,
            "returns": returns(fraction),
        }
        for steps, fraction in ((1000, 0.1), (3000, 0.3), (10_000, 0.7), (30_000, 0.9), (100_000, 1.0))
    ]
    return {
        "protocol": study_info().protocol, "row": row, "task": task, "stream_seed": stream, "agent_seed": agent,
        "labeled_steps": 100_000 if learns else 0, "all_steps": (100_000 if learns else 0) + pretrained,
        "returns": curve[-1]["returns"] if learns else returns(1.0), "success": None,
        "curve": curve if learns else [], "seconds": 41.3,
    }  # fmt: skip
