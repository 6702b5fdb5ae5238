"""Images are learned from too: each frame is seen with its change, and the change is never made up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from world_model_toys import ToyStream, dots

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.config import PIXEL_CONFIG, default_config_for
from robossl.world_model.encoded_batch import encode_windows, random_shift
from robossl.world_model.env import WorldModelEnv

CONFIG = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    ensemble_size=2,
    batch_size=24,
    unroll_steps=3,
)


def learner(stream: ToyStream) -> WorldModelTrainer:
    return WorldModelTrainer(
        WorldModel(CONFIG, stream.observation_space, stream.action_space), stream, device="cpu"
    )


def images_only(stream: ToyStream) -> ToyStream:
    stream.observation_space = stream.observation_space["eye"]
    stream.observation = stream.observation["eye"]
    return stream


def test_each_row_of_a_batch_is_seen_with_the_frame_before_it() -> None:
    stream = dots()
    model = learner(stream).ema_model
    window = stream.windows(6, 4, np.random.default_rng(0))
    batch = encode_windows(model, window, torch.Generator())
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
    assert default_config_for(stream.observation_space) == WorldModelConfig()
    assert default_config_for(images_only(stream).observation_space) == PIXEL_CONFIG
    assert default_config_for(spaces.Box(-1, 1, (3,))) == WorldModelConfig()


def test_a_dream_of_images_shows_latents() -> None:
    stream = images_only(dots())
    env = WorldModelEnv(learner(stream).ema_model, stream, num_envs=3, horizon=4)
    assert env.single_observation_space == spaces.Box(-np.inf, np.inf, (16,))
    assert env.reset(seed=0)[0] in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_a_dream_beside_images_shows_the_rest() -> None:
    stream = dots()
    env = WorldModelEnv(learner(stream).ema_model, stream, num_envs=3, horizon=4)
    assert set(env.single_observation_space) == {"speed"}
    assert env.reset(seed=0)[0] in env.observation_space


def test_moved_frames_are_cut_from_the_picture_with_its_edge_repeated() -> None:
    random = np.random.default_rng(0)
    now, before = (random.integers(0, 256, (20, 3, 12, 10, 3), dtype=np.uint8) for _ in range(2))
    eye, other = ((torch.from_numpy(now), torch.from_numpy(before)) for _ in range(2))
    moved = random_shift({"eye": eye, "other": other}, 0.2, torch.Generator().manual_seed(0))
    places = set()
    for b in range(20):
        wide = [np.pad(f[b], ((0, 0), (2, 2), (2, 2), (0, 0)), "edge") for f in (now, before)]
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if all(
                np.array_equal(moved[path][i][b].numpy(), wide[i][:, y : y + 12, x : x + 10])
                for i in (0, 1)
                for path in ("eye", "other")
            )
        ]
        assert len(found) == 1  # one way for both frames, all steps and both cameras
        places |= set(found)
    assert len(places) > 8
    assert {y for y, _ in places} == {x for _, x in places} == set(range(5))


def test_a_shift_is_a_part_of_the_picture_whatever_the_camera_has() -> None:
    """A quarter of 8 x 16 pixels: 2 down and 4 across at most, each as likely as any other."""
    frame = torch.arange(8 * 16, dtype=torch.uint8).reshape(1, 1, 8, 16, 1).expand(3000, 1, 8, 16, 1)
    moved = random_shift({"eye": (frame, frame)}, 0.25, torch.Generator().manual_seed(0))["eye"][0][
        :, 0, 4, 8, 0
    ]
    down, across = moved.long() // 16 - 4, moved.long() % 16 - 8
    for steps, most in ((down, 2), (across, 4)):
        values, counts = torch.unique(steps, return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert counts.min() > 0.7 * 3000 / (2 * most + 1)


def test_only_the_encoder_sees_frames_moved_and_only_while_learning() -> None:
    stream = images_only(dots())
    model = learner(stream).ema_model
    window = stream.windows(6, 4, np.random.default_rng(0))
    random = torch.Generator()
    before = random.get_state()
    still = encode_windows(model, window, random)
    assert torch.equal(before, random.get_state())  # nothing is drawn where nothing moves
    moved = encode_windows(model, window, random, shift=3)
    assert not torch.equal(still.z, moved.z)
    for path, frames in still.images.items():
        assert all(torch.equal(a, b) for a, b in zip(frames, moved.images[path]))


def test_learning_with_moved_frames_is_learned_and_can_be_interrupted() -> None:
    config = dataclasses.replace(CONFIG, random_shift=1)
    stream = images_only(dots(episodes=60))

    def fresh() -> WorldModelTrainer:
        return WorldModelTrainer(
            WorldModel(config, stream.observation_space, stream.action_space), stream, device="cpu"
        )

    whole, halves = fresh(), fresh()
    first = whole.update(5)
    halves.update(3)
    resumed = fresh()
    resumed.set_checkpoint(halves.get_checkpoint())
    resumed.update(2)
    for ours, theirs in zip(whole.model.parameters(), resumed.model.parameters()):
        assert torch.equal(ours, theirs)
    plain = WorldModelTrainer(
        WorldModel(CONFIG, stream.observation_space, stream.action_space), stream, device="cpu"
    )
    assert plain.update(5) != first  # it is the moved frames that are learned from
    whole.update(200)
    assert whole.update(5)["inverse"] < 0.6 * first["inverse"]


@pytest.mark.parametrize("shift", [-1, 1.5, True, 32])
def test_a_shift_that_leaves_no_picture_is_refused(shift: object) -> None:
    with pytest.raises(UsageError, match=r"world\.shift is .*expected 0 to 31 pixels"):
        WorldModelConfig(random_shift=shift)  # type: ignore[arg-type]
