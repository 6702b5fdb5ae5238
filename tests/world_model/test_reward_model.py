"""Labeled steps and reward models: exact counts, the same draw for a seed, checkpoints, unusable rewards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from world_model_toys import SMALL_CONFIG, linear

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.world_model import RewardModel, WorldModel
from robossl.world_model.labeled_steps import LabeledSteps, read_labeled_steps


@pytest.fixture(scope="module")
def model() -> WorldModel:
    stream = linear()
    return WorldModel(SMALL_CONFIG, stream.observation_space, stream.action_space).frozen_copy()


@pytest.mark.parametrize("count", [100, 1399, 1400])
def test_as_many_different_steps_are_labeled_as_requested(model, count) -> None:
    stream = linear()  # 100 episodes of 20 steps; 7 of 10 episodes are in the train split
    stream.reward = np.arange(stream.transitions, dtype=float).reshape(
        stream.reward.shape
    )  # identify the steps
    labeled, again, other = (read_labeled_steps(model, stream, count, seed) for seed in (0, 0, 1))
    assert len(set(labeled.reward.tolist())) == len(labeled.reward) == count
    assert torch.equal(labeled.reward, again.reward)
    assert count == 1400 or set(labeled.reward.tolist()) != set(other.reward.tolist())


def test_labels_belong_to_their_latents(model) -> None:
    stream = linear()
    stream.reward[:] = stream.observation[:, :-1, 0]
    labeled = read_labeled_steps(model, stream, 500)
    states = stream.observation[:, :-1].reshape(-1, 4)
    nearest = np.abs(states[:, 0][None] - labeled.reward.numpy()[:, None]).argmin(1)
    torch.testing.assert_close(
        labeled.z, torch.as_tensor(model.encode(states[nearest])), atol=1e-4, rtol=1e-4
    )


def test_more_labels_than_transitions_are_refused(model) -> None:
    with pytest.raises(UsageError, match="expected at most 1400, the transitions of the stream, got 1401"):
        read_labeled_steps(model, linear(), 1401)


@pytest.mark.parametrize("count", [0, 99, -5])
def test_too_few_labels_are_refused(model, count) -> None:
    with pytest.raises(UsageError, match=f"expected at least 100, got {count}"):
        RewardModel(model, linear(), labeled_steps=count)


def test_rewards_that_do_not_vary_or_are_not_finite_are_refused(model) -> None:
    stream = linear()
    for value, message in ((0.0, "got 0 in all 200 labeled steps"), (np.nan, "expected finite rewards")):
        stream.reward[:] = value
        with pytest.raises(UsageError, match=message):
            RewardModel(model, stream, labeled_steps=200)


def test_more_labels_predict_better(model) -> None:
    stream = linear(episodes=300)
    position, velocity = np.split(stream.observation[:, :-1], 2, -1)
    stream.reward[:] = np.sin(position[..., 0]) * velocity[..., 1] + stream.action[..., 0] ** 2
    few, many = (RewardModel(model, stream, 150, labeled_steps=count) for count in (100, 4000))
    assert few.num_labeled == 100
    assert many.r2 > few.r2 + 0.1


def test_checkpoint_restores_the_same_rewards(model, tmp_path) -> None:
    stream = linear()
    stream.reward[:] = stream.observation[:, :-1, 0]
    reward = RewardModel(model, stream, 30)
    save_tree(tmp_path / "reward.safetensors", reward.get_checkpoint())
    loaded = RewardModel.from_checkpoint(model, load_tree(tmp_path / "reward.safetensors"))
    z, action = torch.randn(7, model.latent_dim), torch.rand(7, 2)
    assert torch.equal(reward.of_latents(z, action), loaded.of_latents(z, action))
    assert (loaded.r2, loaded.num_labeled) == (reward.r2, reward.num_labeled)


def test_reward_model_of_labeled_steps_equals_that_of_their_stream(model) -> None:
    stream = linear()
    stream.reward[:] = stream.observation[:, :-1, 0]
    labeled = read_labeled_steps(model, stream, 300, 5)
    first, second = RewardModel(model, stream, 20, 5, 300), RewardModel(model, labeled, 20, 5)
    z, action = torch.randn(7, model.latent_dim), torch.rand(7, 2)
    assert torch.equal(first.of_latents(z, action), second.of_latents(z, action))
    assert isinstance(LabeledSteps.join([labeled, labeled]), LabeledSteps)


def test_fit_that_begins_with_an_earlier_reward_model_needs_fewer_updates(model) -> None:
    stream = linear(episodes=300)
    position, velocity = np.split(stream.observation[:, :-1], 2, -1)
    stream.reward[:] = np.sin(position[..., 0]) * velocity[..., 1] + stream.action[..., 0] ** 2
    earlier = RewardModel(model, stream, 300, labeled_steps=1000)
    continued, first = (RewardModel(model, stream, 75, start=start) for start in (earlier, None))
    assert continued.r2 > max(first.r2 + 0.1, earlier.r2)
