"""References are far above doing nothing and chance, and their table is written without losing a line."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from robossl.core.errors import UsageError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.references.{name}")


def test_every_reference_is_of_a_task_that_exists(benchmarks) -> None:
    known = {f"robossl/{name}-v0" for name in benchmarks("episodes").references()}
    assert known <= set(importlib.import_module("robossl.envs").register())
    with pytest.raises(UsageError, match="did you mean 'Reacher'"):
        benchmarks("episodes").reference("Reecher")


@pytest.mark.parametrize("task", ["CartPoleSwingUp", "CartPoleBalance", "Reacher", "ReacherHard", "TwoRoom"])
def test_a_scripted_reference_is_far_above_chance(task, benchmarks) -> None:
    playing = benchmarks("episodes")
    kinds = (playing.DoNothing, playing.AtRandom, playing.reference(task))
    idle, random, best = (playing.play(task, make, 4, 0, 1).returns.mean() for make in kinds)
    assert best > 1.3 * max(idle, random)


def test_foresight_finds_what_chance_does_not(benchmarks) -> None:
    """Two seconds of the cheetah, far fewer plans than the table's: it is on its way."""
    planning, playing = benchmarks("mpc"), benchmarks("episodes")
    config = planning.ForesightConfig(samples=12, horizon=12, every=3)
    ran = [
        speed_after(50, make) for make in (playing.AtRandom, lambda envs: planning.Foresight(envs, config))
    ]
    assert ran[1] > ran[0] + 0.5  # [m/s]


def speed_after(steps: int, make) -> float:
    """[m/s] of two cheetahs on average, over so many steps."""
    import gymnasium as gym

    envs = gym.make_vec("robossl/CheetahRun-v0", num_envs=2, nthread=1)
    observation, _ = envs.reset(seed=0)
    controller = make(envs)
    controller.reset(np.ones(2, bool))
    speeds = []
    for _ in range(steps):
        observation, *_ = envs.step(controller.act(observation))
        speeds.append(envs.unwrapped.simulation.body.speed().mean())
    return float(np.mean(speeds))


def test_every_lane_counts_one_whole_episode(benchmarks) -> None:
    """Of as many steps as the time limit, each worth at most 1."""
    playing = benchmarks("episodes")
    returns = playing.play("CartPoleBalance", playing.reference("CartPoleBalance"), 3, 0, 1).returns
    assert ((returns > 480) & (returns <= 500)).all()


def figure(mean: float) -> dict:
    part = {"return": {"mean": mean, "low": mean - 1, "high": mean + 1, "n": 20}}
    return {"do_nothing": part, "random": part, "reference": part, "ratio": 1.0}


def test_the_table_keeps_the_lines_of_others(benchmarks, tmp_path) -> None:
    page = tmp_path / "page.md"
    writing = benchmarks("page")
    with pytest.raises(UsageError, match="has no table"):
        writing.into_page(page, {})
    page.write_text("above\n<!-- references: begin -->\n<!-- references: end -->\nbelow\n")
    writing.into_page(page, {"B": figure(2.0), "A": figure(1.0)})
    writing.into_page(page, {"B": figure(300.0)})
    lines = page.read_text().splitlines()
    assert lines[0] == "above"
    assert lines[-1] == "below"
    rows = [line for line in lines if line.startswith(("| A", "| B"))]
    assert rows[0].startswith("| A | 1.00 [0.00, 2.00] |")
    assert rows[1].startswith("| B | 300 [299, 301] |")
    assert len(rows) == 2
