"""Images are learned from too: each frame is seen with its change, and the change is never made up."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from world_toys import ToyStream, dots

from robossl.world import WorldConfig, WorldLearner, WorldModel
from robossl.world.batch import encode
from robossl.world.config import PIXELS, recipe

CONFIG = WorldConfig(
    latent=16, encoder=(64,), predictor=(64,), inverse=(64,), decoder=(64,), ensemble=2, batch=24, rollout=3
)


def learner(stream: ToyStream) -> WorldLearner:
    return WorldLearner(
        WorldModel(CONFIG, stream.observation_space, stream.action_space), stream, device="cpu"
    )


def images_only(stream: ToyStream) -> ToyStream:
    stream.observation_space = stream.observation_space["eye"]
    stream.observation = stream.observation["eye"]
    return stream


def test_each_row_of_a_batch_is_seen_with_the_frame_before_it() -> None:
    stream = dots()
    model = learner(stream).model
    window = stream.windows(6, 4, np.random.default_rng(0))
    batch = encode(model, window, torch.Generator())
    assert batch.z.shape == (6, 4, 16)  # the first of five rows is only the frame before the second
    assert batch.code.shape == (6, 3, 2)
    np.testing.assert_array_equal(batch.code.numpy(), window.action[:, 1:])
    np.testing.assert_array_equal(batch.mask.numpy(), window.valid.cumprod(1)[:, 1:])
    for t in range(4):
        row, before = ({k: v[:, i] for k, v in window.observation.items()} for i in (t + 1, t))
        np.testing.assert_allclose(batch.z[:, t].detach().numpy(), model.encode(row, before), atol=1e-5)


def test_a_moved_square_tells_the_action_from_pixels_alone() -> None:
    taught = learner(images_only(dots(episodes=60)))
    first = taught.update(5)
    taught.update(150)
    assert taught.update(5)["inverse"] < 0.4 * first["inverse"]
    health = taught.health()
    assert health["effective_rank"] > 1.5


def test_where_images_are_all_there_is_the_recipe_for_pixels_is_used() -> None:
    stream = dots()
    assert recipe(stream.observation_space) == WorldConfig()
    assert recipe(images_only(stream).observation_space) == PIXELS
    assert recipe(spaces.Box(-1, 1, (3,))) == WorldConfig()


def test_a_dream_of_images_shows_latents() -> None:
    stream = images_only(dots())
    env = learner(stream).model.as_env(stream, num_envs=3, horizon=4)
    assert env.single_observation_space == spaces.Box(-np.inf, np.inf, (16,))
    assert env.reset(seed=0)[0] in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_a_dream_beside_images_shows_the_rest() -> None:
    stream = dots()
    env = learner(stream).model.as_env(stream, num_envs=3, horizon=4)
    assert set(env.single_observation_space) == {"speed"}
    assert env.reset(seed=0)[0] in env.observation_space
