"""Tasks of one robot may have goals of other sizes; policies without reward act on the goals of each task."""

from __future__ import annotations

from pathlib import Path

import pytest

import robossl


@pytest.mark.slow
def test_policies_without_reward_act_on_goals_of_each_task(tmp_path: Path) -> None:
    """The goals of Reacher have 4 numbers, those of ReacherHard 2."""
    report = robossl.transfer(
        "reacher", rows=["inverse_policy", "latent"], out=tmp_path, agent_seeds=1, workers=1, stream_steps=3200,
        model_updates=2, offline_updates=2, episodes=1, hidden=8, batch_size=8, goal_trials=2,
    )  # fmt: skip
    assert report["transfer"]["cells"] == {"done": 4, "failed": 0}
    assert set(report["transfer"]["goals"]) >= {"planner", "inverse_policy", "random"}
