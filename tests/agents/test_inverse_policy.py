"""Inverse policy: reaches goals of a third-party env by one network call, for any number of sub-environments."""

from __future__ import annotations

import numpy as np
import pytest
from goal_toys import SMALL, model_for, record, slides
from robossl.agents import noise
from robossl.agents.inverse_policy import InversePolicy
from robossl.agents.planner import GoalPlanner

import robossl
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import Agent
from robossl.core.io import load_tree, save_tree
from robossl.rollout import steps as rollout_steps
from robossl.streams import Recorder
from robossl.world_model import WorldModel
from robossl.world_model.goal_heads import create_goal_heads, fit_goal_heads


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> dict[str, WorldModel]:
    """Models with goal heads for continuous and discrete actions; the inverse policy does not use the dynamics."""
    models = {}
    for name, discrete in (("continuous", False), ("discrete", True)):
        stream = record(tmp_path_factory.mktemp(name) / "stream", discrete=discrete)
        models[name] = model_for(stream)
        fit_goal_heads(models[name], stream, updates=80, batch_size=64)
    return models


def success_rate(envs, policy, seed: int = 5) -> float:
    """Return the fraction of sub-environments whose goal is reached in 25 steps, not counting the start."""
    observation, _ = envs.reset(seed=seed)
    reached = np.zeros(envs.num_envs, bool)
    for t, step in enumerate(rollout_steps(envs, policy, observation)):
        reached |= step.success
        if t == 24:
            return float(reached.mean())
    raise AssertionError


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_goals_of_a_third_party_env_are_reached_without_reward(fitted, actions):
    envs = slides(30, discrete=actions == "discrete")
    assert success_rate(envs, InversePolicy(envs, fitted[actions])) > 0.9
    assert success_rate(envs, noise.RandomPolicy(envs.single_action_space, 30)) < 0.75


def test_actions_do_not_depend_on_num_envs(fitted):
    observation, _ = slides(20).reset(seed=3)
    policy = InversePolicy(slides(2), fitted["continuous"])
    joint = policy.act(observation, explore=False)
    for index in (0, 7, 19):
        one = {key: values[[index]] for key, values in observation.items()}
        np.testing.assert_allclose(policy.act(one), joint[[index]], atol=1e-5)


def test_heads_are_fitted_to_a_given_stream_and_refused_if_stale(tmp_path):
    stream = record(tmp_path / "stream", steps=300)
    model, envs = model_for(stream), slides(2)
    with pytest.raises(UsageError, match="expected one with goal heads, got none"):
        InversePolicy(envs, model)
    model.goal_heads = create_goal_heads(model)
    newer = model.frozen_copy()
    newer.version += 1
    with pytest.raises(UsageError, match="heads of version 2 of the world model, got heads of version 1"):
        InversePolicy(envs, newer)
    policy = InversePolicy(envs, newer, stream=stream, head_updates=2)
    assert policy.heads.version == newer.version == 2
    newest = newer.frozen_copy()
    newest.version += 1
    policy.set_representation(newest)
    assert policy.heads.version == 3


def test_one_observation_can_be_the_goal_in_an_env_without_goals(tmp_path):
    stream = robossl.collect("Pendulum-v1", "random", 300, tmp_path / "stream", num_envs=3)
    model, envs = model_for(stream), robossl.make("Pendulum-v1", 3)
    model.goal_heads = create_goal_heads(model)
    with pytest.raises(
        UsageError, match="expected an env with goals, got one whose observation has no desired_goal"
    ):
        InversePolicy(envs, model)
    observation, _ = envs.reset(seed=0)
    for agent in (InversePolicy, GoalPlanner):
        policy = agent(envs, model, goal_observation=[1.0, 0.0, 0.0])
        assert envs.action_space.contains(policy.act(observation))
        assert policy.act({"": observation}[""][:1]).shape == (1, 1)
        own = agent(envs, model, goal_observation=np.eye(3))
        with pytest.raises(UsageError, match="goals of their own, got 1"):
            own.act(observation[:1])
    with pytest.raises(UsageError, match=r"goal_observation: expected shape \(3,\) or \(3, 3\), got \(2,\)"):
        InversePolicy(envs, model, goal_observation=[1.0, 0.0])


def test_policy_is_an_agent_that_is_saved_loaded_and_resumed_to_the_same_bits(fitted, tmp_path):
    recorder = Recorder.create(slides(3), tmp_path / "stream")
    policy = InversePolicy(recorder, fitted["continuous"], seed=1)
    assert isinstance(policy, Agent)
    policy.learn(recorder, 30)
    assert recorder.stream.rows + 3 == 30 + 3
    save_tree(tmp_path / "checkpoint", policy.get_checkpoint())
    resumed = InversePolicy(recorder, fitted["continuous"], seed=9)
    resumed.set_checkpoint(load_tree(tmp_path / "checkpoint"))
    policy.save(tmp_path / "agent")
    loaded = InversePolicy.load(tmp_path / "agent", recorder, "cpu")
    observation, _ = slides(3).reset(seed=8)
    expected = policy.act(observation)
    assert expected.tobytes() == resumed.act(observation).tobytes() == loaded.act(observation).tobytes()
    with pytest.raises(UsageError, match="envs it was created with"):
        policy.learn(slides(3), 3)
    (tmp_path / "agent" / "inverse_policy.json").write_text('{"format": 1, "seed": null, "settings": {}}')
    with pytest.raises(CorruptedFileError, match="is damaged"):
        InversePolicy.load(tmp_path / "agent", recorder, "cpu")


def test_images_are_encoded_with_the_previous_images(tmp_path):
    stream = record(tmp_path / "stream", steps=60, images=True)
    config = {"objectives": ("forward", "inverse"), "image_size": 44, "linear_skip": False}
    model, envs = model_for(stream, **config), slides(2, images=True)
    model.goal_heads = create_goal_heads(model).frozen_copy()
    for weights in model.goal_heads.networks["inverse"].parameters():
        weights.mul_(0.3)  # actions within the bounds
    policy = InversePolicy(envs, model)
    first, _ = envs.reset(seed=0)
    second = envs.step(np.ones((2, 2), np.float32))[0]
    policy.act(first)
    moving = policy.act(second)
    policy.reset()
    still = policy.act(second)
    assert (moving != still).any(), "the previous image shows the velocity"
    policy.act(first)
    policy.reset(np.array([True, False]))
    mixed = policy.act(second)
    np.testing.assert_array_equal(mixed[0], still[0])
    np.testing.assert_array_equal(mixed[1], moving[1])


def test_invalid_requests_are_refused(fitted):
    envs = slides(1)
    with pytest.raises(UsageError, match="expected one, got none"):
        InversePolicy(envs)
    assert SMALL.latent_dim == fitted["continuous"].latent_dim
