"""Goal heads: better than constant predictions on any goal env, reproducible, saved with one version of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from goal_toys import model_for, record

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import load_tree, save_tree
from robossl.core.seeding import generator
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.goal_heads import GoalHeads, create_goal_heads, fit_goal_heads
from robossl.world_model.goal_heads.goal_pairs import GoalPairs, imagine_table
from robossl.world_model.goal_heads.latent_table import encode_stream


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return record(tmp_path_factory.mktemp("goal heads") / "stream")


def weights_of(heads: GoalHeads) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in heads.networks.state_dict().items()}


def test_heads_explain_goals_steps_and_actions_of_held_out_episodes(stream):
    model = model_for(stream)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    heads = fit_goal_heads(model, stream, updates=120, batch_size=128)
    assert model.goal_heads is heads
    assert heads.has_goals
    assert heads.metrics["readout_r2"] > 0.9
    assert heads.metrics["distance_r2"] > 0.05
    assert heads.metrics["inverse_r2"] > 0.05  # random actions: one of k steps leads to the goal
    z, goal = torch.zeros(1, 6), torch.zeros(1, 2)
    assert heads.log_distance(z, goal).shape == (1,)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the model does not change"


def test_same_seed_gives_the_same_bits_and_leaves_global_random_numbers_alone(stream):
    state = torch.get_rng_state()
    first, again, other = (
        weights_of(fit_goal_heads(model_for(stream), stream, updates=5, seed=seed, batch_size=32))
        for seed in (3, 3, 4)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_heads_are_saved_with_the_model_and_removed_with_it(stream, tmp_path):
    model = model_for(stream)
    heads = fit_goal_heads(model, stream, updates=3, batch_size=16)
    model.save(tmp_path)
    loaded = WorldModel.load(tmp_path, "cpu")
    assert loaded.goal_heads is not None
    assert loaded.goal_heads.metrics == heads.metrics
    expected, actual = weights_of(heads), weights_of(loaded.goal_heads)
    assert expected.keys() == actual.keys()
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)
    assert loaded.state_dict().keys() == model.state_dict().keys(), "heads are no weights of the model"
    copy = loaded.frozen_copy()
    assert copy.goal_heads is not None
    assert copy.goal_heads is not loaded.goal_heads
    assert not any(parameter.requires_grad for parameter in copy.goal_heads.networks.parameters())
    model.goal_heads = None
    model.save(tmp_path)
    assert WorldModel.load(tmp_path, "cpu").goal_heads is None


def test_heads_move_with_the_model(stream):
    model = model_for(stream)
    model.goal_heads = create_goal_heads(model)
    model.to(torch.device("meta"))
    assert model.goal_heads.device == model.device == torch.device("meta")


def test_heads_belong_to_one_version(stream, tmp_path):
    trainer = WorldModelTrainer(model_for(stream), stream, device="cpu")
    model = trainer.publish()
    heads = fit_goal_heads(model, stream, updates=2, batch_size=16)
    heads.check_version(model.version)
    with pytest.raises(
        UsageError, match="heads of version 3 of the world model, got heads of version 2; fit them"
    ):
        heads.check_version(model.version + 1)
    model.save(tmp_path)
    model.version += 1
    model.save(tmp_path)
    assert WorldModel.load(tmp_path, "cpu").goal_heads is None, "heads of an older version are not saved"
    trainer.ema_model.goal_heads = heads
    trainer.update(1)
    assert trainer.ema_model.goal_heads is None, "heads do not fit the weights after an update"


def test_heads_of_another_format_have_to_be_fitted_again(stream, tmp_path):
    model = model_for(stream)
    model.goal_heads = create_goal_heads(model)
    model.save(tmp_path)
    path = tmp_path / "goal_heads.safetensors"
    save_tree(path, {**load_tree(path), "format": 1})
    assert WorldModel.load(tmp_path, "cpu").goal_heads is None


def test_damaged_heads_are_reported(stream, tmp_path):
    model = model_for(stream)
    model.goal_heads = create_goal_heads(model)
    model.save(tmp_path)
    path = tmp_path / "goal_heads.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptedFileError):
        WorldModel.load(tmp_path, "cpu")


def test_env_without_goals_has_heads_on_latents(tmp_path):
    import robossl

    plain = robossl.collect("Pendulum-v1", "random", 600, tmp_path / "stream", num_envs=3)
    model = model_for(plain)
    heads = fit_goal_heads(model, plain, updates=20, batch_size=32)
    assert not heads.has_goals
    assert heads.goal_dim == model.latent_dim
    assert set(heads.networks) == {"normalizer", "distance", "inverse"}
    z = torch.randn(4, model.latent_dim, generator=torch.Generator().manual_seed(0))
    assert torch.equal(heads.achieved(z), z)


def test_discrete_actions_are_classified(tmp_path):
    stream = record(tmp_path / "stream", steps=2000, discrete=True)
    heads = fit_goal_heads(model_for(stream), stream, updates=150, batch_size=128)
    assert heads.metrics["inverse_accuracy"] > 0.3  # of four directions


@pytest.mark.parametrize("goals", ["discrete", "image"])
def test_goals_that_are_no_box_of_numbers_are_refused_before_the_work(goals, tmp_path):
    stream = record(tmp_path / "stream", steps=200, goals=goals)
    with pytest.raises(UsageError, match="desired_goal: expected a Box of numbers, got"):
        fit_goal_heads(model_for(stream), stream, updates=2)


def test_invalid_requests_are_refused(stream, tmp_path):
    model = model_for(stream)
    with pytest.raises(UsageError, match=r"expected updates >= 1 and batch_size >= 4, got 0"):
        fit_goal_heads(model, stream, updates=0)
    with pytest.raises(UsageError, match="max_steps of 1 or more, got 0"):
        fit_goal_heads(model, stream, updates=1, max_steps=0)
    discrete = record(tmp_path / "other", steps=100, discrete=True)
    with pytest.raises(UsageError, match="actions of the stream: expected"):
        fit_goal_heads(model, discrete, updates=1)
    with pytest.raises(UsageError, match="has no transition"):
        fit_goal_heads(model, stream.create_like(tmp_path / "empty", 2), updates=1)
    assert model.goal_heads is None


def test_table_counts_the_steps_to_the_end_of_each_episode(stream):
    table = encode_stream(model_for(stream), stream, "train", seed=0)
    ends = np.flatnonzero(table.steps_left == 0)
    lengths = np.diff(np.concatenate([[-1], ends]))
    assert set(lengths) == {31}, "30 steps in each episode"
    assert (np.diff(table.steps_left)[table.starts] == -1).all()
    assert len(encode_stream(model_for(stream), stream, "train", 0, max_rows=62).z) == 62


def test_goals_are_later_time_steps_of_the_same_episode(stream):
    model = model_for(stream)
    table = encode_stream(model, stream, "train", seed=0)
    heads = create_goal_heads(model, max_steps=12)
    pairs = GoalPairs(heads, table, generator(0, "test"))
    rows, steps = (values.numpy() for values in pairs.draw(2000, shortest=1))
    assert set(steps) == set(range(1, 13))
    assert (steps <= table.steps_left[rows]).all()
    imagined, predicted_rows = imagine_table(model, table, generator(0, "test"))
    assert len(imagined) == len(predicted_rows)
    assert (table.steps_left[predicted_rows] < 30).all(), "the first time step of an episode is not imagined"


def test_images_are_encoded_with_the_previous_image(tmp_path):
    stream = record(tmp_path / "stream", steps=200, images=True)
    config = {"objectives": ("forward", "inverse"), "image_size": 44, "linear_skip": False}
    model = model_for(stream, **config)
    episode = stream.episodes("train")[0]
    images = stream.read(episode.lane, episode.start, episode.stop)["observation.observation"]
    previous = np.concatenate([images[:1], images[:-1]])
    expected = model.encode({"observation": images}, {"observation": previous})
    table = encode_stream(model, stream, "train", seed=0)
    ends = np.flatnonzero(table.steps_left == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    assert any(
        end + 1 - start == len(expected) and np.allclose(table.z[start : end + 1], expected, atol=1e-5)
        for start, end in zip(starts, ends)
    )
    assert fit_goal_heads(model, stream, updates=2, batch_size=16).has_goals
