"""Search of the planner: it reaches goals with an exact model; plans depend on no other env and keep to the bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agent_toys import QUICK_PLANNER, PointMasses, PointModel, model_of
from gymnasium.spaces import Box, Discrete, MultiBinary
from robossl.agents import GoalPlanner, Planner, PlannerConfig, noise
from robossl.agents.shared.action_range import action_range
from robossl.agents.shared.cem import PRESETS
from robossl.agents.shared.plan_distribution import noise_factor
from robossl.agents.shared.planning_costs import ControlCost, Disagreement, GoalDistance, ImaginedTrajectories

import robossl
from robossl.core.errors import UsageError
from robossl.world_model import WorldModelConfig
from robossl.world_model.goal_heads import create_goal_heads


def goals_sustained(envs: PointMasses, policy, seed: int, steps: int = 45, last: int = 10) -> np.ndarray:
    """Return whether (n,) the goals are reached in each of the last `last` steps."""
    observation, _ = envs.reset(seed=seed)
    policy.reset()
    reached = []
    for _ in range(steps):
        observation, *_ = envs.step(policy.act(observation))
        reached.append(envs.reached())
    return np.all(reached[-last:], axis=0)


def test_all_goals_are_reached_with_an_exact_model():
    envs = PointMasses(12)
    assert goals_sustained(envs, GoalPlanner(envs, PointModel()), seed=0).all()
    assert goals_sustained(envs, noise.RandomPolicy(envs.single_action_space, 12), seed=0).mean() < 0.2


@pytest.mark.parametrize(
    "config", [PRESETS["cpu"], PlannerConfig(**QUICK_PLANNER, noise_exponent=0.0, elite_fraction_kept=0.0)]
)
def test_joint_plans_equal_single_plans(config):
    envs = robossl.make("robossl/Reacher-v0", 8, 1)
    model = model_of(envs, config=WorldModelConfig())  # networks as small as SMALL hide the order of sums
    random = np.random.default_rng(0)
    joint, single = (Planner(model, config, envs.single_action_space, 8, seed=3) for _ in range(2))
    for _ in range(3):
        z, goal = (torch.from_numpy(random.normal(size=(8, 64)).astype(np.float32)) for _ in range(2))
        actions = joint.plan(z, goal, np.arange(8))
        for env_index in reversed(range(8)):
            one = single.plan(z[[env_index]], goal[[env_index]], np.array([env_index]))
            assert one.tobytes() == actions[[env_index]].tobytes()


@pytest.mark.parametrize("cost", ["latent", "temporal"])
def test_actions_do_not_depend_on_num_envs(cost):
    sequences = []
    for num_envs in (1, 3, 8):
        envs = robossl.make("robossl/Reacher-v0", num_envs, 1)
        model = model_of(envs, config=WorldModelConfig())
        model.goal_heads = create_goal_heads(model).frozen_copy()
        policy = GoalPlanner(envs, model, seed=1, cost=cost, **QUICK_PLANNER)
        observation, _ = envs.reset(seed=4)
        actions = []
        for _ in range(5):
            actions.append(policy.act(observation))
            observation, *_ = envs.step(actions[-1])
        sequences.append(np.stack(actions))
    for other in sequences[1:]:
        assert other[:, :1].tobytes() == sequences[0].tobytes()
    assert (sequences[2][:, 0] != sequences[2][:, 1]).any()


def test_network_calls_have_a_constant_size():
    """The laws above hold to the bit because of this; the last bits of a latent seldom change the order of plans."""

    class Counted(PointModel):
        def encode(self, observation):
            calls.add(("encode", len(observation)))
            return super().encode(observation)

        def imagine(self, z, actions, heads="mean"):
            calls.add(("imagine", *z.shape, *actions.shape))
            return super().imagine(z, actions, heads)

    calls: set[tuple] = set()
    for num_envs in (1, 3, 17):
        envs = PointMasses(num_envs)
        GoalPlanner(envs, Counted(), **QUICK_PLANNER).act(envs.reset(seed=0)[0])
    assert len(calls) == 2


def test_a_continued_plan_takes_fewer_iterations_independent_of_the_other_envs():
    config = PlannerConfig(**QUICK_PLANNER, warm_iterations=1)
    envs = robossl.make("robossl/Reacher-v0", 3, 1)
    model, calls = model_of(envs, config=WorldModelConfig()), []
    imagine = model.imagine
    model.imagine = lambda *args, **kwargs: (calls.append(1), imagine(*args, **kwargs))[1]
    joint, single = (Planner(model, config, envs.single_action_space, 3, seed=3) for _ in range(2))
    random = np.random.default_rng(0)
    reset = np.array([False, True, False])
    for expected in (config.iterations, 1, config.iterations + 1):
        z, goal = (torch.from_numpy(random.normal(size=(3, 64)).astype(np.float32)) for _ in range(2))
        calls.clear()
        actions = joint.plan(z, goal)
        assert len(calls) == expected
        for i in range(3):
            assert single.plan(z[[i]], goal[[i]], np.array([i])).tobytes() == actions[[i]].tobytes()
        if expected == 1:  # the next plan of one sub-environment is a first one
            joint.reset(reset)
            single.reset(reset)


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
    class LargeActions(PointModel):
        def imagine(self, z, actions, heads="mean"):  # large actions cost less
            return torch.cat([z[:, None], -actions.square().sum(-1, keepdim=True).expand(-1, -1, 4)], 1)

    planner = Planner(LargeActions(), PRESETS["cpu"], space, 3, 0)
    actions = planner.plan(torch.zeros(3, 4), torch.full((3, 4), -1e6), np.arange(3))
    assert all(space.contains(action) for action in actions.reshape(-1, 2))
    bound = np.abs(action_range(space)).max(0)
    assert (np.abs(actions).mean((0, 1)) > 0.6 * bound).all(), "actions are near the bounds"


def test_planner_returns_finite_actions_for_a_nan_model():
    envs = PointMasses(2)

    class NanModel(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return torch.full((len(z), actions.shape[1] + 1, 4), torch.nan)

    observation, _ = envs.reset(seed=0)
    assert np.isfinite(GoalPlanner(envs, NanModel(), **QUICK_PLANNER).act(observation)).all()


def test_discrete_actions_are_planned_over_categories():
    """An exact model of four directions: the categories of every plan are valid, and lead to the goal."""

    class Directions(PointModel):
        def imagine(self, z, actions, heads="mean"):
            assert actions.dtype == torch.int64
            assert ((actions >= 3) & (actions < 7)).all()
            moves = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])[actions - 3]  # (N, T, 2)
            position = z[:, None, :2] + 0.1 * moves.cumsum(1)
            return torch.cat([z[:, None], torch.cat([position, torch.zeros_like(position)], -1)], 1)

    planner = Planner(Directions(), PlannerConfig(action_repeat=1), Discrete(4, start=3), 2, seed=0)
    z = torch.tensor([[0.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    goal = torch.tensor([[0.5, -0.3, 0, 0], [-0.2, 0.5, 0, 0]])
    for _ in range(8):
        action = torch.from_numpy(planner.plan(z, goal))
        z = Directions().imagine(z, action[:, None])[:, 1]
    assert (z - goal).norm(dim=1).max() < 0.11
    assert set(planner.plan(goal, goal).tolist()) <= {3, 4, 5, 6}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_along_a_plan_has_unit_variance_and_decreasing_correlation(exponent):
    factor = noise_factor(6, exponent).astype(float)
    covariance = factor @ factor.T
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-5)
    if exponent == 0:
        np.testing.assert_allclose(covariance, np.eye(6), atol=1e-5)
    else:
        assert (np.diff(covariance[0]) < 0).all()


def test_costs_are_added_up():
    envs = PointMasses(6)
    observation, _ = envs.reset(seed=0)
    efforts = []
    for costs in [(GoalDistance(),), (GoalDistance(), ControlCost(10.0)), (ControlCost(),)]:
        policy = GoalPlanner(envs, PointModel(), costs=costs)
        efforts.append(np.mean(policy.act(observation) ** 2))
    assert efforts[0] > 2 * efforts[1] > efforts[2]


def test_disagreement_is_a_cost_of_steps_outside_the_data():
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    model = model_of(envs)
    random = torch.Generator().manual_seed(0)
    z, actions = torch.randn(3, 5, model.latent_dim, generator=random), torch.zeros(3, 5, 2)
    imagined = ImaginedTrajectories(z, actions, z[:, 0])
    cost = Disagreement(model, 2.0)(imagined)
    assert cost.shape == (3, 5)
    assert (cost[:, 0] == 0).all()
    expected = 2 * model.disagreement(z[:, 0], torch.zeros(3, 2))
    np.testing.assert_allclose(cost[:, 1], expected, rtol=1e-5)
    observation, _ = envs.reset(seed=0)
    policy = GoalPlanner(envs, model, cost={"latent": 1.0, "disagreement": 0.1}, **QUICK_PLANNER)
    assert envs.action_space.contains(policy.act(observation))


def test_invalid_searches_are_rejected():
    with pytest.raises(UsageError, match="float Box or Discrete actions; this env has MultiBinary"):
        Planner(PointModel(), PlannerConfig(**QUICK_PLANNER), MultiBinary(3), 1, 0)
    with pytest.raises(UsageError, match="horizon: expected a multiple of action_repeat 2, got 7"):
        PlannerConfig(horizon=7)
    with pytest.raises(UsageError, match="elites: expected at most samples"):
        PlannerConfig(samples=5)
    with pytest.raises(UsageError, match="iterations: expected 1 or more, got 0"):
        PlannerConfig(iterations=0)
