"""Image observations: each image is encoded with its change, and random shifts affect the encoder in training only."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from world_model_toys import SMALL_CONFIG, images_only, make_trainer, moving_square

from robossl.world_model import WorldModelConfig, WorldModelEnv
from robossl.world_model.config import PIXEL_CONFIG, default_config_for
from robossl.world_model.diagnostics import _window_count
from robossl.world_model.encoded_batch import encode_windows, random_shift

CONFIG = replace(SMALL_CONFIG, ensemble_size=2, batch_size=24)


def test_batch_encodes_each_image_with_the_previous_one() -> None:
    stream = moving_square()
    model = make_trainer(stream, CONFIG).ema_model
    window = stream.windows(6, 4, np.random.default_rng(0))
    batch = encode_windows(model, window, torch.Generator())
    assert batch.z.shape == (6, 4, 16)  # the first of five images is only the one before the second
    assert batch.action.shape == (6, 3, 2)
    np.testing.assert_array_equal(batch.action.numpy(), window.action[:, 1:])
    np.testing.assert_array_equal(batch.mask.numpy(), window.valid.cumprod(1)[:, 1:])
    for t in range(4):
        now, before = ({k: v[:, i] for k, v in window.observation.items()} for i in (t + 1, t))
        np.testing.assert_allclose(batch.z[:, t].detach().numpy(), model.encode(now, before), atol=1e-5)


def test_action_is_learned_from_images_alone() -> None:
    trainer = make_trainer(images_only(moving_square(episodes=60)), CONFIG)
    first = trainer.update(5)
    trainer.update(150)
    assert trainer.update(5)["inverse"] < 0.4 * first["inverse"]
    assert trainer.diagnose()["effective_rank"] > 1.5


def test_pixel_config_is_the_default_for_images_alone() -> None:
    space = moving_square().observation_space
    assert default_config_for(space) == WorldModelConfig()
    assert default_config_for(space["camera"]) == PIXEL_CONFIG
    assert default_config_for(spaces.Box(-1, 1, (3,))) == WorldModelConfig()


def test_imagined_observations_are_latents_for_images_alone() -> None:
    stream = images_only(moving_square())
    env = WorldModelEnv(make_trainer(stream, CONFIG).ema_model, stream, num_envs=3, horizon=4)
    assert env.single_observation_space == spaces.Box(-np.inf, np.inf, (16,))
    assert env.reset(seed=0)[0] in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_imagined_observations_omit_images_beside_vectors() -> None:
    stream = moving_square()
    env = WorldModelEnv(make_trainer(stream, CONFIG).ema_model, stream, num_envs=3, horizon=4)
    assert set(env.single_observation_space) == {"speed"}
    assert env.reset(seed=0)[0] in env.observation_space


def test_random_shift_crops_the_padded_image_alike_for_all_images_of_a_window() -> None:
    random = np.random.default_rng(0)
    now, before = (random.integers(0, 256, (20, 3, 12, 10, 3), dtype=np.uint8) for _ in range(2))
    frames = torch.from_numpy(now), torch.from_numpy(before)
    shifted = random_shift({"left": frames, "right": frames}, 0.2, torch.Generator().manual_seed(0))
    shifts = set()
    for b in range(20):
        padded = [np.pad(f[b], ((0, 0), (2, 2), (2, 2), (0, 0)), "edge") for f in (now, before)]
        matches = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if all(
                np.array_equal(shifted[path][i][b].numpy(), padded[i][:, y : y + 12, x : x + 10])
                for i in (0, 1)
                for path in ("left", "right")
            )
        ]
        assert len(matches) == 1
        shifts |= set(matches)
    assert len(shifts) > 8
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(5))


def test_random_shift_is_uniform_over_a_fraction_of_the_image() -> None:
    """A quarter of 8 x 16 pixels: up to 2 rows and 4 columns, each shift equally likely."""
    image = torch.arange(8 * 16, dtype=torch.uint8).reshape(1, 1, 8, 16, 1).expand(3000, 1, 8, 16, 1)
    shifted = random_shift({"camera": (image, image)}, 0.25, torch.Generator().manual_seed(0))
    pixel = shifted["camera"][0][:, 0, 4, 8, 0].long()
    for shift, largest in ((pixel // 16 - 4, 2), (pixel % 16 - 8, 4)):
        values, counts = torch.unique(shift, return_counts=True)
        assert values.tolist() == list(range(-largest, largest + 1))
        assert counts.min() > 0.7 * 3000 / (2 * largest + 1)


def test_only_the_encoder_input_is_shifted() -> None:
    stream = images_only(moving_square())
    model = make_trainer(stream, CONFIG).ema_model
    window = stream.windows(6, 4, np.random.default_rng(0))
    random = torch.Generator()
    before = random.get_state()
    plain = encode_windows(model, window, random)
    assert torch.equal(before, random.get_state()), "nothing is drawn without a shift"
    shifted = encode_windows(model, window, random, shift=3)
    assert not torch.equal(plain.z, shifted.z)
    for path, frames in plain.images.items():
        assert all(torch.equal(a, b) for a, b in zip(frames, shifted.images[path]))


def test_training_with_random_shifts_learns_and_resumes_to_the_same_bits() -> None:
    config, stream = replace(CONFIG, random_shift=1), images_only(moving_square(episodes=60))
    uninterrupted, interrupted, resumed = (make_trainer(stream, config) for _ in range(3))
    first = uninterrupted.update(5)
    interrupted.update(3)
    resumed.set_checkpoint(interrupted.get_checkpoint())
    resumed.update(2)
    for expected, got in zip(uninterrupted.model.parameters(), resumed.model.parameters()):
        assert torch.equal(expected, got)
    assert make_trainer(stream, CONFIG).update(5) != first, "the shift changes the inputs"
    uninterrupted.update(200)
    assert uninterrupted.update(5)["inverse"] < 0.6 * first["inverse"]


@pytest.mark.parametrize(("shape", "count"), [((64, 64, 3), 256), ((480, 640, 3), 43), ((4000, 4000, 3), 16)])
def test_diagnostics_read_fewer_windows_of_large_images(shape, count) -> None:
    stream = SimpleNamespace(observation_space=spaces.Box(0, 255, shape, np.uint8))
    assert _window_count(stream, 256, 26) == count
