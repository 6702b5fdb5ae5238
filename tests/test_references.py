"""Reference controllers beat zero and random actions; updating the table of results keeps its other lines."""

from __future__ import annotations

import importlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from robossl.core.errors import UsageError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    """Return a function that imports a module of benchmarks/references by name."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.references.{name}")


def test_every_reference_belongs_to_a_registered_task(benchmarks) -> None:
    ids = {f"robossl/{task}-v0" for task in benchmarks("episodes").load_references()}
    assert ids == set(importlib.import_module("robossl.envs").register())


def test_unknown_reference_raises_usage_error_with_similar_names(benchmarks) -> None:
    with pytest.raises(UsageError, match="did you mean 'Reacher'"):
        benchmarks("episodes").find_reference("Reecher")


@pytest.mark.parametrize("task", ["CartPoleSwingUp", "CartPoleBalance", "Reacher", "ReacherHard", "TwoRoom"])
def test_scripted_reference_beats_zero_and_random_actions(task, benchmarks) -> None:
    episodes = benchmarks("episodes")
    factories = (episodes.ZeroActionController, episodes.RandomController, episodes.find_reference(task))
    zero, random, best = (episodes.run_episodes(task, make, 4, 0, 1).returns.mean() for make in factories)
    assert best > 1.3 * max(zero, random)


def test_simulator_mpc_runs_faster_than_random_actions(benchmarks) -> None:
    """Two seconds of the cheetah, with far fewer plans than for the table."""
    mpc, episodes = benchmarks("mpc"), benchmarks("episodes")
    config = mpc.MPCConfig(num_samples=12, horizon=12, replan_every=3)
    random = cheetah_speed(50, episodes.RandomController)
    planned = cheetah_speed(50, lambda envs: mpc.SimulatorMPC(envs, config))
    assert planned > random + 0.5  # [m/s]


def cheetah_speed(steps: int, factory) -> float:
    """Return the mean speed [m/s] of two cheetahs over `steps` steps."""
    envs = gym.make_vec("robossl/CheetahRun-v0", num_envs=2, nthread=1)
    observation, _ = envs.reset(seed=0)
    controller = factory(envs)
    controller.reset(np.ones(2, bool))
    speeds = []
    for _ in range(steps):
        observation, *_ = envs.step(controller.act(observation))
        speeds.append(envs.unwrapped.simulation.robot.speed().mean())
    return float(np.mean(speeds))


def test_each_sub_environment_counts_one_whole_episode(benchmarks) -> None:
    """An episode has 500 steps with rewards of at most 1."""
    episodes = benchmarks("episodes")
    factory = episodes.find_reference("CartPoleBalance")
    returns = episodes.run_episodes("CartPoleBalance", factory, 3, 0, 1).returns
    assert ((returns > 480) & (returns <= 500)).all()


def result_row(mean: float) -> dict:
    """Return a row of results in which all three controllers have the same return."""
    part = {"return": {"mean": mean, "low": mean - 1, "high": mean + 1, "n": 20}}
    return {"zero_action": part, "random": part, "reference": part, "ratio": 1.0}


def test_page_without_table_raises_usage_error(benchmarks, tmp_path) -> None:
    with pytest.raises(UsageError, match="has no table"):
        benchmarks("results_table").update_table(tmp_path / "page.md", {})


def test_table_update_keeps_other_lines(benchmarks, tmp_path) -> None:
    page, table = tmp_path / "page.md", benchmarks("results_table")
    page.write_text("above\n<!-- references: begin -->\n<!-- references: end -->\nbelow\n")
    table.update_table(page, {"B": result_row(2.0), "A": result_row(1.0)})
    table.update_table(page, {"B": result_row(300.0)})
    lines = page.read_text().splitlines()
    assert lines[0] == "above"
    assert lines[-1] == "below"
    rows = [line for line in lines if line.startswith(("| A", "| B"))]
    assert rows[0].startswith("| A | 1.00 [0.00, 2.00] |")
    assert rows[1].startswith("| B | 300 [299, 301] |")
    assert len(rows) == 2
