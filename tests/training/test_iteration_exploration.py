"""Exploration in each iteration: its share of the steps, its physics, and the windows that prefer recent steps."""

import numpy as np
import pytest
from resume_helpers import tiny

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Stream
from robossl.training.config import ExploreConfig, LearnConfig, PretrainConfig
from robossl.training.iteration_exploration import window_sampler
from robossl.training.phases import learn

DAMPING = {"joint_damping": 4.0}
CHANGED = {"variation__at_step": 1840, "variation__randomization__joint_damping": 4.0}
SHORT = {"goals__trials": 0, "goals__head_updates": 0, "agent__rows": (), "pretrain__updates": 2}


def test_exploration_takes_its_share_of_each_iteration():
    plain, changed = tiny(), tiny(**CHANGED)
    assert (plain.iteration_explore_steps, plain.iteration_agent_steps, plain.lane_groups) == (0, 160, [8, 4])
    assert (changed.iteration_explore_steps, changed.iteration_agent_steps) == (40, 120)
    assert changed.lane_groups == [8, 4, 4]
    assert (changed.iteration_steps, changed.num_iterations) == (plain.iteration_steps, plain.num_iterations)
    half = tiny(explore__iteration_fraction=0.5)
    assert (half.iteration_explore_steps, half.iteration_agent_steps) == (80, 80)
    most = tiny(explore__iteration_fraction=0.999)
    assert most.iteration_agent_steps == 4, "the agent takes at least one step in each sub-environment"
    assert tiny(**CHANGED, explore__iteration_fraction=0).lane_groups == [8, 4]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan"), "often"])
def test_fractions_are_checked(fraction):
    with pytest.raises(
        UsageError, match=r"explore\.iteration_fraction: expected 0 or more and less than 1, or auto"
    ):
        LearnConfig(explore=ExploreConfig(iteration_fraction=fraction))
    with pytest.raises(
        UsageError, match=r"pretrain\.recent_fraction: expected 0 or more and less than 1, or auto"
    ):
        LearnConfig(pretrain=PretrainConfig(recent_fraction=fraction))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two iterations; the physics change after the first one."""
    folder = tmp_path_factory.mktemp("changed") / "run"
    report = learn(tiny(**CHANGED, **SHORT), folder, progress=NullProgress())
    return folder, report


@pytest.mark.parametrize("iteration", [0, 1])
def test_exploration_has_the_physics_of_the_iteration(run, iteration):
    """Each recorded transition is that of an env with these physics, and not of one with the others."""
    stream = Stream.open(run[0] / "stream")
    rows = stream.read(
        12, 0, int(stream.lengths[12])
    )  # the first lane of exploration between the agent's steps
    start = int(np.flatnonzero(rows["is_first"])[iteration])
    matches = {}
    for name, randomization in (("old", {}), ("new", DAMPING)):
        envs = registry.make_envs("robossl/Reacher-v0", 1, randomization=randomization)
        envs.reset(seed=0)
        envs.unwrapped.set_physics_state(rows["physics"][start : start + 1].astype(np.float64))
        envs.step(rows["action"][start : start + 1])
        after = envs.unwrapped.get_physics_state()[0]
        matches[name] = np.allclose(after, rows["physics"][start + 1], atol=1e-5)
        envs.close()
    assert matches == {"old": iteration == 0, "new": iteration == 1}


def test_steps_of_exploration_are_not_counted_as_steps_with_reward(run):
    folder, report = run
    stream = Stream.open(folder / "stream")
    assert stream.lanes == 16
    assert [int(stream.lengths[lanes].sum()) for lanes in (slice(0, 8), slice(8, 12), slice(12, 16))] == [
        1680 + 8 * len(np.flatnonzero(stream.read(0, 0, int(stream.lengths[0]))["is_last"])),
        2 * 120 + 4 * len(np.flatnonzero(stream.read(8, 0, int(stream.lengths[8]))["is_last"])),
        2 * 40 + 4 * 2,
    ]
    assert report["control"]["steps"] == 2 * 120
    assert [point[0] for point in report["control"]["rows"]["latent_observation"]["curve"]] == [120, 240]


def starts(config, iteration, lanes):
    """Return how often windows begin in the steps of exploration, agent, and exploration between its steps."""
    limits = np.full(sum(config.lane_groups), 1000)
    sampler = window_sampler(config, iteration)
    lane, position = sampler.propose(np.random.default_rng(0), 20_000, limits)
    return [np.mean(np.isin(lane, group) & (position >= newest)) for group, newest in lanes]


def test_windows_begin_in_the_steps_since_the_physics_changed():
    config = tiny(**{**CHANGED, "steps": 2160, "explore__steps": 1680, "agent__iteration_steps": 160})
    assert config.num_iterations == 3
    assert window_sampler(config, 1) is None, "before the change all windows are drawn uniformly"
    assert window_sampler(tiny(), 2) is None
    for iteration, acted, explored in ((2, 30, 10), (3, 60, 20)):
        groups = [(range(8, 12), 1000 - acted), (range(12, 16), 1000 - explored)]
        assert starts(config, iteration, groups) == pytest.approx([0.45, 0.45], abs=0.02)


def test_given_fraction_of_the_windows_begins_in_the_running_iteration():
    config = tiny(pretrain__recent_fraction=0.5)
    assert starts(config, 2, [(range(8, 12), 1000 - 40)]) == pytest.approx([0.52], abs=0.02)
