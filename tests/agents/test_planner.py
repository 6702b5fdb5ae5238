"""The planner reaches goals in a model it can trust, and no lane's plan depends on another's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from agent_toys import SMALL, Line, PointMasses, PointModel, model_of
from gymnasium.spaces import Box
from robossl.agents import GoalPlanner, Planner, PlannerConfig, noise
from robossl.agents.planner import PRESETS, _colouring
from robossl.agents.shared.action_range import action_range
from robossl.agents.shared.planning_costs import ControlCost, GoalDistance

import robossl
from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.world_model import WorldModelConfig

QUICK = PlannerConfig(samples=16, iterations=2, elites=4, horizon=6, block=2)


def attempt(envs: PointMasses, policy, seed: int, steps: int = 45, hold: int = 10) -> np.ndarray:
    """(n,) whether the goals are reached and held for the last `hold` steps."""
    observation, _ = envs.reset(seed=seed)
    policy.reset()
    held = []
    for _ in range(steps):
        observation, *_ = envs.step(policy.act(observation))
        held.append(envs.reached())
    return np.all(held[-hold:], axis=0)


def test_every_goal_is_reached_in_a_world_that_is_known():
    envs = PointMasses(12)
    assert attempt(envs, GoalPlanner(PointModel(), envs), seed=0).all()
    assert attempt(envs, noise.RandomPolicy(envs.single_action_space, 12), seed=0).mean() < 0.2


@pytest.mark.parametrize("config", [PRESETS["cpu"], dataclasses.replace(QUICK, color=0.0, keep=0.0)])
def test_lanes_planned_together_are_planned_as_if_alone(config):
    envs = robossl.make("robossl/Reacher-v0", 8, 1)
    model = model_of(
        envs, config=WorldModelConfig()
    )  # in networks as small as SMALL the order of sums never shows
    random = np.random.default_rng(0)
    together, alone = (Planner(model, config, envs.single_action_space, 8, seed=3) for _ in range(2))
    for _ in range(3):
        z, goal = (torch.from_numpy(random.normal(size=(8, 64)).astype(np.float32)) for _ in range(2))
        actions = together.plan(z, goal, np.arange(8))
        for lane in reversed(range(8)):
            one = alone.plan(z[[lane]], goal[[lane]], np.array([lane]))
            assert one.tobytes() == actions[[lane]].tobytes()


def test_the_policy_of_a_lane_does_not_depend_on_how_many_there_are():
    lives = []
    for lanes in (1, 3, 8):
        envs = robossl.make("robossl/Reacher-v0", lanes, 1)
        policy = GoalPlanner(model_of(envs, config=WorldModelConfig()), envs, seed=1, config=QUICK)
        observation, _ = envs.reset(seed=4)
        life = []
        for _ in range(5):
            life.append(policy.act(observation))
            observation, *_ = envs.step(life[-1])
        lives.append(np.stack(life))
    for other in lives[1:]:
        assert other[:, :1].tobytes() == lives[0].tobytes()
    assert (lives[2][:, 0] != lives[2][:, 1]).any()


def test_pictures_are_seen_beside_those_before_them():
    """The first one of a life stands beside itself, also where lanes begin anew while others go on."""

    class Watcher(PointModel):
        def encode(self, observation, before=None):
            asked.append((observation[:3, 0, 0, 0], None if before is None else before[:3, 0, 0, 0]))
            return np.zeros((len(observation), 4), np.float32)

    asked: list = []
    envs = PointMasses(3)
    goal = np.zeros((3, 44, 44, 3), np.uint8)
    policy = GoalPlanner(Watcher(), envs, config=dataclasses.replace(QUICK, block=1, horizon=2))
    policy._look = lambda goals: goal[: len(goals)]

    def see(*values: int) -> tuple[list, list]:
        asked.clear()
        frames = np.zeros((3, 44, 44, 3), np.uint8) + np.array(values, np.uint8).reshape(3, 1, 1, 1)
        policy.act({"observation": frames, "desired_goal": np.zeros((3, 2))})
        (now, before), (_, none) = asked
        assert none is None  # a goal is a picture by itself
        return now.tolist(), before.tolist()

    policy.reset()
    assert see(1, 2, 3) == ([1, 2, 3], [1, 2, 3])
    assert see(4, 5, 6) == ([4, 5, 6], [1, 2, 3])
    policy.reset(np.array([False, True, False]))
    assert see(7, 8, 9) == ([7, 8, 9], [4, 8, 6])
    again = GoalPlanner(Watcher(), envs, config=policy.planner.config)
    again._look = policy._look
    again.set_checkpoint(policy.get_checkpoint())
    policy = again
    assert see(1, 1, 1) == ([1, 1, 1], [7, 8, 9])


def test_the_networks_are_always_called_with_equally_many_rows():
    """What makes the laws above hold to the bit; the last bits of a latent seldom change an order of plans."""

    class Counted(PointModel):
        def encode(self, observation):
            calls.add(("encode", len(observation)))
            return super().encode(observation)

        def imagine(self, z, actions, heads="mean"):
            calls.add(("imagine", *z.shape, *actions.shape))
            return super().imagine(z, actions, heads)

    calls: set[tuple] = set()
    for lanes in (1, 3, 17):
        envs = PointMasses(lanes)
        GoalPlanner(Counted(), envs, config=QUICK).act(envs.reset(seed=0)[0])
    assert len(calls) == 2


@pytest.mark.parametrize(
    "space",
    [
        Box(np.array([0, -4], np.float32), np.array([8, 9], np.float32)),
        Box(np.array([0.1, 0.3], np.float32), np.array([0.7, 1.1], np.float32)),
        Box(-np.inf, np.inf, (2,), np.float32),
        Box(np.array([3, -np.inf], np.float32), np.array([np.inf, -7], np.float32)),
    ],
)
def test_plans_are_clipped_to_the_bounds(space):
    class Eager(PointModel):
        def imagine(self, z, actions, heads="mean"):  # the farther the better
            return torch.cat([z[:, None], -actions.square().sum(-1, keepdim=True).expand(-1, -1, 4)], 1)

    planner = Planner(Eager(), PRESETS["cpu"], space, 3, 0)
    actions = planner.plan(torch.zeros(3, 4), torch.full((3, 4), -1e6), np.arange(3))
    assert all(space.contains(action) for action in actions.reshape(-1, 2))
    far = np.abs(action_range(space)).max(0)
    assert (np.abs(actions).mean((0, 1)) > 0.6 * far).all(), "and nearly reach them"


def test_blocks_are_acted_out_before_planning_anew():
    envs = PointMasses(2)
    policy = GoalPlanner(PointModel(), envs, config=QUICK)
    observation, _ = envs.reset(seed=0)
    first, second, third = (policy.act(observation) for _ in range(3))
    np.testing.assert_array_equal(first, second)
    assert (second != third).any()
    policy.reset(np.array([True, False]))
    fourth = policy.act(observation)
    assert (fourth[0] != third[0]).any(), "a new episode plans anew"
    np.testing.assert_array_equal(fourth[1], third[1])


@pytest.mark.parametrize("steps", [0, 3])
def test_a_planner_goes_on_to_the_bit(tmp_path, steps):
    envs = PointMasses(3)
    policy, fresh = (GoalPlanner(PointModel(), envs, seed, config=QUICK) for seed in (0, 9))
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        policy.act(observation)
    save_tree(tmp_path / "planner", policy.get_checkpoint())
    fresh.set_checkpoint(load_tree(tmp_path / "planner"))
    for _ in range(4):
        np.testing.assert_array_equal(policy.act(observation), fresh.act(observation))
    with pytest.raises(UsageError, match="has 3 lanes; here are 2"):
        GoalPlanner(PointModel(), PointMasses(2)).set_checkpoint(policy.get_checkpoint())


def test_a_planner_of_a_model_that_knows_nothing_still_answers():
    envs = PointMasses(2)

    class Broken(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return torch.full((len(z), actions.shape[1] + 1, 4), torch.nan)

    observation, _ = envs.reset(seed=0)
    assert np.isfinite(GoalPlanner(Broken(), envs, config=QUICK).act(observation)).all()


def test_what_cannot_be_planned_is_refused_in_words():
    with pytest.raises(UsageError, match="searches continuous actions; this env has Discrete"):
        Planner(None, QUICK, Line(1, discrete=True).single_action_space, 1, 0)
    with pytest.raises(UsageError, match="how a goal looks"):
        GoalPlanner(model_of(Line(1)), Line(1))
    with pytest.raises(UsageError, match=r"no 'papre'.*paper"):
        GoalPlanner(None, PointMasses(1), preset="papre")
    with pytest.raises(UsageError, match="horizon 7 is no multiple of block 2"):
        PlannerConfig(horizon=7)
    with pytest.raises(UsageError, match="no more than samples"):
        PlannerConfig(samples=5)
    with pytest.raises(UsageError, match="expected 1 or more"):
        PlannerConfig(iterations=0)


def test_a_padded_call_of_the_encoder_is_what_the_model_says():
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    observation, _ = envs.reset(seed=0)
    model = model_of(envs, config=SMALL)
    policy = GoalPlanner(model, envs)
    z = policy._encode(observation["observation"])
    np.testing.assert_allclose(z, model.encode(observation), atol=1e-5)


def test_costs_add_up():
    envs = PointMasses(6)
    observation, _ = envs.reset(seed=0)
    efforts = []
    for costs in [(GoalDistance(),), (GoalDistance(), ControlCost(10.0)), (ControlCost(),)]:
        policy = GoalPlanner(PointModel(), envs, costs=costs)
        efforts.append(np.mean(policy.act(observation) ** 2))
    assert efforts[0] > 2 * efforts[1] > efforts[2]


def test_one_observation_can_be_the_goal_of_all():
    envs = PointMasses(4)
    envs.reset(seed=0)
    middle = np.zeros(4, np.float32)
    policy = GoalPlanner(PointModel(), envs, goal_observation=middle)
    for _ in range(30):
        envs.step(policy.act(envs.observe()))
    assert (np.abs(envs.state[:, :2]) < envs.REACHED).all()


def test_a_newer_model_plans_anew():
    envs = PointMasses(2)
    policy = GoalPlanner(PointModel(), envs, config=QUICK)
    observation, _ = envs.reset(seed=0)

    class Mirrored(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return super().imagine(z, -actions, heads)

    before = policy.act(observation)
    policy.set_representation(Mirrored())
    assert ((policy.act(observation) * before).sum(1) < 0).all(), "it plans the other way at once"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_along_a_plan_has_unit_variance_and_its_end_does_not_know_its_start(exponent):
    factor = _colouring(6, exponent).astype(float)
    covariance = factor @ factor.T
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-5)
    if exponent == 0:
        np.testing.assert_allclose(covariance, np.eye(6), atol=1e-5)
    else:
        assert (np.diff(covariance[0]) < 0).all()
