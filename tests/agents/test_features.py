"""Features of an agent: all numbers of the observation, and images through the latent only."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from agent_toys import SMALL
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.vector.utils import batch_space
from robossl.agents.sb3.features import FeatureBuilder
from robossl.agents.sb3.parts import PartExtractor

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel

POINT = Box(-np.inf, np.inf, (2,), np.float32)
IMAGE = Box(0, 255, (48, 48, 3), np.uint8)
SPACES = {
    "box": (Box(-1, 1, (3,), np.float32), 3),
    "scalar": (Box(-1, 1, (), np.float64), 1),
    "matrix": (Box(-1, 1, (2, 3), np.float32), 6),
    "discrete": (Discrete(4, start=2), 4),
    "digits": (MultiDiscrete([3, 2], start=[1, -1]), 5),
    "bits": (MultiBinary(3), 3),
    "goal": (Dict(observation=Box(-1, 1, (3,), np.float32), achieved_goal=POINT, desired_goal=POINT), 7),
    "nested": (Dict(arm=Dict(a=POINT, b=Discrete(3)), rest=Tuple((POINT, MultiBinary(2)))), 9),
    "image": (Dict(camera=IMAGE, joints=POINT), 2),
}


@pytest.mark.parametrize("kind", SPACES)
def test_features_without_representation_are_all_numbers(kind):
    space, size = SPACES[kind]
    features = FeatureBuilder(space)
    inputs = features(batch_space(space, 5).sample())
    assert (inputs.shape, inputs.dtype) == ((5, size), np.float32)
    assert features.size == size
    assert features.observation_space.shape == (size,)
    assert np.isfinite(inputs).all()


def test_categories_are_one_hot_from_their_start():
    assert FeatureBuilder(Discrete(3, start=2))(np.array([2, 4])).tolist() == [[1, 0, 0], [0, 0, 1]]
    inputs = FeatureBuilder(MultiDiscrete([3, 2], start=[1, -1]))(np.array([[1, -1], [3, 0]]))
    assert inputs.tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]]


def test_goals_are_part_of_the_features():
    space, _ = SPACES["goal"]
    batch = batch_space(space, 2).sample()
    inputs = FeatureBuilder(space)(batch)
    np.testing.assert_array_equal(inputs, np.concatenate([batch[name] for name in space.spaces], 1))


@pytest.mark.parametrize("kind", ["box", "goal", "discrete", "nested", "image"])
def test_latent_comes_first_and_all_numbers_remain(kind):
    space, size = SPACES[kind]
    model = WorldModel(SMALL, space, Box(-1, 1, (1,)), 0).frozen_copy()
    batch = batch_space(space, 4).sample()
    inputs = FeatureBuilder(space, model)(batch)
    assert inputs.shape == (4, SMALL.latent_dim + size)
    z = model.encode(batch)
    np.testing.assert_array_equal(inputs[:, : SMALL.latent_dim], z)
    np.testing.assert_array_equal(inputs[:, SMALL.latent_dim :], FeatureBuilder(space)(batch))


@pytest.mark.parametrize(("kind", "beside"), [("box", 0), ("goal", 2), ("discrete", 0), ("nested", 0)])
def test_latent_alone_is_observed_with_the_desired_goal_only(kind, beside):
    space, _ = SPACES[kind]
    model = WorldModel(SMALL, space, Box(-1, 1, (1,)), 0).frozen_copy()
    batch = batch_space(space, 4).sample()
    inputs = FeatureBuilder(space, model, observed="latent")(batch)
    assert inputs.shape == (4, SMALL.latent_dim + beside)
    np.testing.assert_allclose(inputs[:, : SMALL.latent_dim].std(1), 1, atol=1e-3)
    if beside:
        np.testing.assert_array_equal(inputs[:, SMALL.latent_dim :], batch["desired_goal"])


def test_goals_of_an_image_env_are_no_substitute_for_its_observation():
    goal = Box(-1, 1, (2,), np.float32)
    space = Dict(observation=IMAGE, achieved_goal=goal, desired_goal=goal)
    with pytest.raises(UsageError, match="images only"):
        FeatureBuilder(space)
    model = WorldModel(SMALL, space, Box(-1, 1, (1,)), 0).frozen_copy()
    batch = batch_space(space, 2).sample()
    inputs = FeatureBuilder(space, model)(batch)
    np.testing.assert_array_equal(inputs, np.concatenate([model.encode(batch), batch["desired_goal"]], 1))


def test_latent_and_numbers_have_an_equal_share_at_all_sizes():
    extractor = PartExtractor(Box(-np.inf, np.inf, (64 + 3,), np.float32), 64)
    vector = torch.cat([torch.randn(40, 64), 50 * torch.randn(40, 3)], 1)
    parts = extractor(vector).reshape(40, 2, -1)
    torch.testing.assert_close(parts.var(-1, correction=0), torch.ones(40, 2), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(extractor(vector)[:, :32], extractor.parts.latent(vector[:, :64]))


def test_images_reach_the_features_through_the_latent_only():
    with pytest.raises(UsageError, match="images only; expected encoder random, frozen, finetune"):
        FeatureBuilder(IMAGE)
    model = WorldModel(SMALL, IMAGE, Box(-1, 1, (1,)), 0).frozen_copy()
    batch = batch_space(IMAGE, 2).sample()
    np.testing.assert_array_equal(FeatureBuilder(IMAGE, model)(batch), model.encode(batch))


def test_newer_representation_is_used_at_once_and_must_fit():
    space, _ = SPACES["box"]
    old, new = (WorldModel(SMALL, space, Box(-1, 1, (1,)), seed).frozen_copy() for seed in (0, 1))
    features, batch = FeatureBuilder(space, old), batch_space(space, 2).sample()
    before = features(batch)
    features.set_representation(new)
    assert (features(batch) != before).any()
    np.testing.assert_array_equal(features(batch), FeatureBuilder(space, new)(batch))
    with pytest.raises(UsageError, match="latent_dim 8, got 5"):
        features.set_representation(SimpleNamespace(latent_dim=5, version=1))
    with pytest.raises(UsageError, match="no frozen representation"):
        FeatureBuilder(space).set_representation(new)
