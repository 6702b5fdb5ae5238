"""Planner as an agent: images, goals and goal heads, newer models, checkpoints, files."""

from __future__ import annotations

import numpy as np
import pytest
from agent_toys import QUICK_PLANNER, SMALL, Line, PointMasses, PointModel, model_of
from goal_toys import model_for, record, slides
from robossl.agents import GoalPlanner
from robossl.agents.shared.planning_costs import ControlCost

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder
from robossl.world_model import WorldModelTrainer
from robossl.world_model.goal_heads import create_goal_heads, fit_goal_heads


def test_images_are_encoded_with_the_previous_images():
    """The first image of an episode is its own previous image, also if other sub-environments continue."""

    class ImageModel(PointModel):
        def encode(self, observation, previous=None):
            calls.append((observation[:3, 0, 0, 0], None if previous is None else previous[:3, 0, 0, 0]))
            return np.zeros((len(observation), 4), np.float32)

    calls: list = []
    envs = PointMasses(3)
    goal = np.zeros((3, 44, 44, 3), np.uint8)
    settings = {**QUICK_PLANNER, "action_repeat": 1, "horizon": 2}
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


def test_actions_are_repeated_before_a_new_plan():
    envs = PointMasses(2)
    policy = GoalPlanner(envs, PointModel(), **QUICK_PLANNER)
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
    policy, fresh = (GoalPlanner(envs, PointModel(), seed, **QUICK_PLANNER) for seed in (0, 9))
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        policy.act(observation)
    save_tree(tmp_path / "planner", policy.get_checkpoint())
    fresh.set_checkpoint(load_tree(tmp_path / "planner"))
    for _ in range(4):
        np.testing.assert_array_equal(policy.act(observation), fresh.act(observation))
    with pytest.raises(UsageError, match="checkpoint of 2 sub-environments, got 3"):
        GoalPlanner(PointMasses(2), PointModel()).set_checkpoint(policy.get_checkpoint())


def test_padded_encoding_equals_the_encoding_of_the_model():
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    observation, _ = envs.reset(seed=0)
    model = model_of(envs, config=SMALL)
    policy = GoalPlanner(envs, model)
    z = policy._encoder.encode(observation["observation"])
    np.testing.assert_allclose(z, model.encode(observation), atol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_goal_heads_let_the_planner_act_in_a_third_party_goal_env(tmp_path, discrete):
    stream = record(tmp_path / "stream", discrete=discrete, steps=2000)
    trainer = WorldModelTrainer(model_for(stream), stream, device="cpu")
    trainer.update(200)
    model, envs = trainer.publish(), slides(8, discrete=discrete)
    with pytest.raises(UsageError, match=r"no method goal_observation .* fit goal heads"):
        GoalPlanner(envs, model)
    fit_goal_heads(model, stream, updates=100, batch_size=64)
    policy = GoalPlanner(envs, model, **QUICK_PLANNER)
    observation, _ = envs.reset(seed=2)
    reached = np.zeros(8, bool)
    for _ in range(25):
        observation, *_, infos = envs.step(policy.act(observation))
        reached |= infos["is_success"]
    assert reached.mean() > 0.8
    policy.save(tmp_path / "agent")
    loaded = GoalPlanner.load(tmp_path / "agent", envs, "cpu")
    policy = GoalPlanner(envs, model, **QUICK_PLANNER)
    np.testing.assert_array_equal(loaded.act(observation), policy.act(observation))


@pytest.mark.parametrize(
    ("env", "name"), [("robossl/Reacher-v0", "latent"), ("robossl/PointMaze-v0", "temporal")]
)
def test_default_cost_compares_latents_only_where_a_goal_is_a_pose(env, name):
    envs = robossl.make(env, 1, 1)
    model = model_of(envs)
    model.goal_heads = create_goal_heads(model).frozen_copy()
    policies = {cost: GoalPlanner(envs, model, cost=cost) for cost in ("auto", "latent", "temporal")}
    assert [cost for cost in ("latent", "temporal") if policies[cost].costs == policies["auto"].costs] == [
        name
    ]


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
        GoalPlanner(envs, model, cost=cost, policy_samples=0, **QUICK_PLANNER).act(observation)
        for cost in ("auto", "temporal", "goal", {"temporal": 1, "control": 100.0})
    ]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[1] != actions[2]).any()
    assert np.abs(actions[3]).mean() < 0.5 * np.abs(actions[1]).mean()
    newer = model.frozen_copy()
    newer.version += 1
    with pytest.raises(UsageError, match="heads of version 2 of the world model, got heads of version 1"):
        GoalPlanner(envs, newer)
    policy = GoalPlanner(envs, model, **QUICK_PLANNER)
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
    policy = GoalPlanner(envs, PointModel(), **QUICK_PLANNER)
    observation, _ = envs.reset(seed=0)

    class Mirrored(PointModel):
        def imagine(self, z, actions, heads="mean"):
            return super().imagine(z, -actions, heads)

    before = policy.act(observation)
    policy.set_representation(Mirrored())
    assert ((policy.act(observation) * before).sum(1) < 0).all(), "the new model reverses the actions at once"


def test_invalid_agents_are_rejected():
    with pytest.raises(UsageError, match="expected an env with goals"):
        GoalPlanner(Line(1), model_of(Line(1)))
    with pytest.raises(UsageError, match=r"no .*'papre'.*paper"):
        GoalPlanner(PointMasses(1), PointModel(), preset="papre")
    with pytest.raises(UsageError, match=r"no .*'samplse'.*samples"):
        GoalPlanner(PointMasses(1), PointModel(), samplse=3)
    with pytest.raises(UsageError, match="needs a world model"):
        GoalPlanner(PointMasses(1))


# --- the agent protocol


def test_planner_is_an_agent_that_acts_without_training(tmp_path):
    class Counter(NullProgress):
        steps = 0

        def update(self, count: int, **metrics: float) -> None:
            self.steps += count

    recorder = Recorder.create(PointMasses(3), tmp_path / "s")
    policy, progress = GoalPlanner(recorder, PointModel(), **QUICK_PLANNER), Counter()
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
        policy = GoalPlanner(envs, PointModel(), seed=1, **QUICK_PLANNER)
        policies.append(policy)
        policy.learn(envs, 10)
        if restored:
            save_tree(tmp_path / "planner", policy.get_checkpoint())
            fresh = GoalPlanner(envs, PointModel(), seed=5, **QUICK_PLANNER)
            fresh.set_checkpoint(load_tree(tmp_path / "planner"))
            policy = fresh
        policy.learn(envs, 20)
        states.append(envs.state)
    np.testing.assert_array_equal(*states)


def test_loaded_planner_acts_the_same(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", 2, 1)
    observation, _ = envs.reset(seed=0)
    policy = GoalPlanner(envs, model_of(envs), seed=3, **QUICK_PLANNER)
    policy.save(tmp_path)
    loaded = GoalPlanner.load(tmp_path, envs, "cpu")
    assert loaded.planner.config == policy.planner.config
    np.testing.assert_array_equal(loaded.act(observation), policy.act(observation))
    with pytest.raises(UsageError, match="expected a WorldModel"):
        GoalPlanner(PointMasses(1), PointModel()).save(tmp_path)
    with pytest.raises(UsageError, match="custom costs"):
        GoalPlanner(envs, model_of(envs), costs=(ControlCost(),)).save(tmp_path)


def test_planner_acts_in_another_number_of_sub_environments():
    policy = GoalPlanner(PointMasses(2), PointModel(), **QUICK_PLANNER)
    other = PointMasses(5)
    expected = GoalPlanner(other, PointModel(), **QUICK_PLANNER)
    for planner in (policy, expected):
        planner.reset()
    observation, _ = other.reset(seed=0)
    for mask in (None, np.arange(5) < 2, None):
        np.testing.assert_array_equal(policy.act(observation, explore=False), expected.act(observation))
        if mask is not None:
            policy.reset(mask), expected.reset(mask)
