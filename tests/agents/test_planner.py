"""Planner: reaches goals with an exact model; plans do not depend on num_envs; checkpoints and files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agent_toys import SMALL, Line, PointMasses, PointModel, model_of
from goal_toys import model_for, record, slides
from gymnasium.spaces import Box, Discrete, MultiBinary
from robossl.agents import GoalPlanner, Planner, PlannerConfig, noise
from robossl.agents.shared.action_range import action_range
from robossl.agents.shared.cem import PRESETS
from robossl.agents.shared.plan_distribution import noise_factor
from robossl.agents.shared.planning_costs import ControlCost, Disagreement, GoalDistance, ImaginedTrajectories

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder
from robossl.world_model import WorldModelConfig, WorldModelTrainer
from robossl.world_model.goal_heads import create_goal_heads, fit_goal_heads

QUICK = {"samples": 16, "iterations": 2, "elites": 4, "horizon": 6, "action_repeat": 2}


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
    "config", [PRESETS["cpu"], PlannerConfig(**QUICK, noise_exponent=0.0, elite_fraction_kept=0.0)]
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
        policy = GoalPlanner(envs, model, seed=1, cost=cost, **QUICK)
        observation, _ = envs.reset(seed=4)
        actions = []
        for _ in range(5):
            actions.append(policy.act(observation))
            observation, *_ = envs.step(actions[-1])
        sequences.append(np.stack(actions))
    for other in sequences[1:]:
        assert other[:, :1].tobytes() == sequences[0].tobytes()
    assert (sequences[2][:, 0] != sequences[2][:, 1]).any()


def test_images_are_encoded_with_the_previous_images():
    """The first image of an episode is its own previous image, also if other sub-environments continue."""

    class ImageModel(PointModel):
        def encode(self, observation, previous=None):
            calls.append((observation[:3, 0, 0, 0], None if previous is None else previous[:3, 0, 0, 0]))
            return np.zeros((len(observation), 4), np.float32)

    calls: list = []
    envs = PointMasses(3)
    goal = np.zeros((3, 44, 44, 3), np.uint8)
    settings = {**QUICK, "action_repeat": 1, "horizon": 2}
    policy = GoalPlanner(envs, ImageModel(), **settings)
    policy._goals._to_observation = lambda goals: goal[: len(goals)]

    def act_on(*values: int) -> tuple[list, list]:
        calls.clear()
        frames = np.zeros((3, 44, 44, 3), np.uint8) + np.array(values, np.uint8).reshape(3, 1, 1, 1)
        policy.act({"observation": frames, "desired_goal": np.zeros((3, 2))})
        (images, previous), (_, none) = calls
        assert none is None  # a goal image has no previous image
        return images.tolist(), previous.tolist()

    policy.reset()
    assert act_on(1, 2, 3) == ([1, 2, 3], [1, 2, 3])
    assert act_on(4, 5, 6) == ([4, 5, 6], [1, 2, 3])
    policy.reset(np.array([False, True, False]))
    assert act_on(7, 8, 9) == ([7, 8, 9], [4, 8, 6])
    restored = GoalPlanner(envs, ImageModel(), **settings)
    restored._goals._to_observation = policy._goals._to_observation
    restored.set_checkpoint(policy.get_checkpoint())
    policy = restored
    assert act_on(1, 1, 1) == ([1, 1, 1], [7, 8, 9])


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
        GoalPlanner(envs, Counted(), **QUICK).act(envs.reset(seed=0)[0])
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
    class LargeActions(PointModel):
        def imagine(self, z, actions, heads="mean"):  # large actions cost less
            return torch.cat([z[:, None], -actions.square().sum(-1, keepdim=True).expand(-1, -1, 4)], 1)

    planner = Planner(LargeActions(), PRESETS["cpu"], space, 3, 0)
    actions = planner.plan(torch.zeros(3, 4), torch.full((3, 4), -1e6), np.arange(3))
    assert all(space.contains(action) for action in actions.reshape(-1, 2))
    bound = np.abs(action_range(space)).max(0)
    assert (np.abs(actions).mean((0, 1)) > 0.6 * bound).all(), "actions are near the bounds"


def test_actions_are_repeated_before_a_new_plan():
    envs = PointMasses(2)
    policy = GoalPlanner(envs, PointModel(), **QUICK)
    observation, _ = envs.reset(seed=0)
    first, second, third = (policy.act(observation) for _ in range(3))
    np.testing.assert_array_equal(first, second)
    assert (second != third).any()
    policy.reset(np.array([True, False]))
    fourth = policy.act(observation)
    assert (fourth[0] != third[0]).any(), "a new episode needs a new plan"
    np.testing.assert_array_equal(fourth[1], third[1])


@pytest.mark.parametrize("steps", [0, 3])
def test_restored_planner_continues_to_the_bit(tmp_path, steps):
    envs = PointMasses(3)
    policy, fresh = (GoalPlanner(envs, PointModel(), seed, **QUICK) for seed in (0, 9))
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        policy.act(observation)
    save_tree(tmp_path / "planner", policy.get_checkpoint())
    fresh.set_checkpoint(load_tree(tmp_path / "planner"))
    for _ in range(4):
        np.testing.assert_array_equal(policy.act(observation), fresh.act(observation))
    with pytest.raises(UsageError, match="checkpoint of 2 sub-environments, got 3"):
        GoalPlanner(PointMasses(2), PointModel()).set_checkpoint(policy.get_checkpoint())


def test_planner_returns_finite_actions_for_a_nan_model():
    envs = PointMasses(2)

    class NanModel(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return torch.full((len(z), actions.shape[1] + 1, 4), torch.nan)

    observation, _ = envs.reset(seed=0)
    assert np.isfinite(GoalPlanner(envs, NanModel(), **QUICK).act(observation)).all()


def test_invalid_requests_are_rejected():
    with pytest.raises(UsageError, match="float Box or Discrete actions; this env has MultiBinary"):
        Planner(PointModel(), PlannerConfig(**QUICK), MultiBinary(3), 1, 0)
    with pytest.raises(UsageError, match="expected an env with goals"):
        GoalPlanner(Line(1), model_of(Line(1)))
    with pytest.raises(UsageError, match=r"no .*'papre'.*paper"):
        GoalPlanner(PointMasses(1), PointModel(), preset="papre")
    with pytest.raises(UsageError, match=r"no .*'samplse'.*samples"):
        GoalPlanner(PointMasses(1), PointModel(), samplse=3)
    with pytest.raises(UsageError, match="needs a world model"):
        GoalPlanner(PointMasses(1))
    with pytest.raises(UsageError, match="horizon: expected a multiple of action_repeat 2, got 7"):
        PlannerConfig(horizon=7)
    with pytest.raises(UsageError, match="elites: expected at most samples"):
        PlannerConfig(samples=5)
    with pytest.raises(UsageError, match="iterations: expected 1 or more, got 0"):
        PlannerConfig(iterations=0)


def test_padded_encoding_equals_the_encoding_of_the_model():
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    observation, _ = envs.reset(seed=0)
    model = model_of(envs, config=SMALL)
    policy = GoalPlanner(envs, model)
    z = policy._encoder.encode(observation["observation"])
    np.testing.assert_allclose(z, model.encode(observation), atol=1e-5)


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


@pytest.mark.parametrize("discrete", [False, True])
def test_goal_heads_let_the_planner_act_in_a_third_party_goal_env(tmp_path, discrete):
    stream = record(tmp_path / "stream", discrete=discrete, steps=2000)
    trainer = WorldModelTrainer(model_for(stream), stream, device="cpu")
    trainer.update(200)
    model, envs = trainer.publish(), slides(8, discrete=discrete)
    with pytest.raises(UsageError, match=r"no method goal_observation .* fit goal heads"):
        GoalPlanner(envs, model)
    fit_goal_heads(model, stream, updates=100, batch_size=64)
    policy = GoalPlanner(envs, model, **QUICK)
    observation, _ = envs.reset(seed=2)
    reached = np.zeros(8, bool)
    for _ in range(25):
        observation, *_, infos = envs.step(policy.act(observation))
        reached |= infos["is_success"]
    assert reached.mean() > 0.8
    policy.save(tmp_path / "agent")
    loaded = GoalPlanner.load(tmp_path / "agent", envs, "cpu")
    policy = GoalPlanner(envs, model, **QUICK)
    np.testing.assert_array_equal(loaded.act(observation), policy.act(observation))


def test_costs_of_goal_heads_need_heads_of_the_version(tmp_path):
    stream, envs = record(tmp_path / "stream", steps=100), slides(12)
    model = model_for(stream)
    with pytest.raises(
        UsageError, match="cost temporal, goal: expected a world model with goal heads, got none"
    ):
        GoalPlanner(envs, model, cost="temporal")
    model.goal_heads = create_goal_heads(model)
    observation, _ = envs.reset(seed=0)
    actions = [
        GoalPlanner(envs, model, cost=cost, policy_samples=0, **QUICK).act(observation)
        for cost in ("auto", "temporal", "goal", {"temporal": 1, "control": 100.0})
    ]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[1] != actions[2]).any()
    assert np.abs(actions[3]).mean() < 0.5 * np.abs(actions[1]).mean()
    newer = model.frozen_copy()
    newer.version += 1
    with pytest.raises(UsageError, match="heads of version 2 of the world model, got heads of version 1"):
        GoalPlanner(envs, newer)
    policy = GoalPlanner(envs, model, **QUICK)
    with pytest.raises(UsageError, match="got heads of version 1"):
        policy.set_representation(newer)
    for cost, message in (
        ("tempral", r"no .*'tempral'.*temporal"),
        ({"gaol": 1.0}, r"no .*'gaol'.*goal"),
        ({"control": 1.0}, "expected one of latent, goal, temporal, got control"),
        ({"latent": 1.0, "goal": 1.0}, "replace latent by goal"),
        ({"goal": "much"}, "goal: expected a weight, got 'much'"),
    ):
        with pytest.raises(UsageError, match=message):
            GoalPlanner(envs, model, cost=cost)


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
    policy = GoalPlanner(envs, model, cost={"latent": 1.0, "disagreement": 0.1}, **QUICK)
    assert envs.action_space.contains(policy.act(observation))


def test_one_observation_can_be_the_goal_of_all_sub_environments():
    envs = PointMasses(4)
    envs.reset(seed=0)
    center = np.zeros(4, np.float32)
    policy = GoalPlanner(envs, PointModel(), goal_observation=center)
    for _ in range(30):
        envs.step(policy.act(envs.observe()))
    assert (np.abs(envs.state[:, :2]) < envs.GOAL_RADIUS).all()


def test_newer_model_discards_old_plans():
    envs = PointMasses(2)
    policy = GoalPlanner(envs, PointModel(), **QUICK)
    observation, _ = envs.reset(seed=0)

    class Mirrored(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return super().imagine(z, -actions, heads)

    before = policy.act(observation)
    policy.set_representation(Mirrored())
    assert ((policy.act(observation) * before).sum(1) < 0).all(), "the new model reverses the actions at once"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_along_a_plan_has_unit_variance_and_decreasing_correlation(exponent):
    factor = noise_factor(6, exponent).astype(float)
    covariance = factor @ factor.T
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-5)
    if exponent == 0:
        np.testing.assert_allclose(covariance, np.eye(6), atol=1e-5)
    else:
        assert (np.diff(covariance[0]) < 0).all()


# --- the agent protocol


def test_planner_is_an_agent_that_acts_without_training(tmp_path):
    class Counter(NullProgress):
        steps = 0

        def update(self, count: int, **metrics: float) -> None:
            self.steps += count

    recorder = Recorder.create(PointMasses(3), tmp_path / "s")
    policy, progress = GoalPlanner(recorder, PointModel(), **QUICK), Counter()
    assert isinstance(policy, Agent)
    policy.learn(recorder, 10, progress)
    policy.learn(recorder, 8, progress)
    assert progress.steps == 18
    assert recorder.stream.rows + 3 == 18 + 3
    with pytest.raises(UsageError, match="envs it was created with"):
        policy.learn(PointMasses(3), 3)


def test_restored_planner_continues_to_act_to_the_bit(tmp_path):
    policies, states = [], []
    for restored in (False, True):
        envs = PointMasses(2)
        policy = GoalPlanner(envs, PointModel(), seed=1, **QUICK)
        policies.append(policy)
        policy.learn(envs, 10)
        if restored:
            save_tree(tmp_path / "planner", policy.get_checkpoint())
            fresh = GoalPlanner(envs, PointModel(), seed=5, **QUICK)
            fresh.set_checkpoint(load_tree(tmp_path / "planner"))
            policy = fresh
        policy.learn(envs, 20)
        states.append(envs.state)
    np.testing.assert_array_equal(*states)


def test_loaded_planner_acts_the_same(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    observation, _ = envs.reset(seed=0)
    policy = GoalPlanner(envs, model_of(envs), seed=3, **QUICK)
    policy.save(tmp_path)
    loaded = GoalPlanner.load(tmp_path, envs, "cpu")
    assert loaded.planner.config == policy.planner.config
    np.testing.assert_array_equal(loaded.act(observation), policy.act(observation))
    with pytest.raises(UsageError, match="expected a WorldModel"):
        GoalPlanner(PointMasses(1), PointModel()).save(tmp_path)
    with pytest.raises(UsageError, match="custom costs"):
        GoalPlanner(envs, model_of(envs), costs=(ControlCost(),)).save(tmp_path)


def test_planner_acts_in_another_number_of_sub_environments():
    policy = GoalPlanner(PointMasses(2), PointModel(), **QUICK)
    other = PointMasses(5)
    expected = GoalPlanner(other, PointModel(), **QUICK)
    for planner in (policy, expected):
        planner.reset()
    observation, _ = other.reset(seed=0)
    for mask in (None, np.arange(5) < 2, None):
        np.testing.assert_array_equal(policy.act(observation, explore=False), expected.act(observation))
        if mask is not None:
            policy.reset(mask), expected.reset(mask)
