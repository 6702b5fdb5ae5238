"""Losses and updates of the self-predictive agent: what each depends on, and which weights it changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from robossl.agents.self_predictive import two_hot
from robossl.agents.self_predictive.embedding_loss import UnrollBatch, embedding_loss
from robossl.agents.self_predictive.learner import Learner, ReturnBatch
from robossl.agents.self_predictive.presets import make_config
from self_predictive_toys import SMALL, weights

CPU = torch.device("cpu")
B, T, D, A = 12, 3, 4, 2  # windows, steps, inputs, actions


def make_learner(seed: int = 0) -> Learner:
    return Learner(D, A, make_config("cpu", SMALL), seed, CPU)


def unroll_batch(seed: int = 0, **parts: torch.Tensor) -> UnrollBatch:
    random = torch.Generator().manual_seed(seed)
    batch = UnrollBatch(
        inputs=torch.randn(B, T + 1, D, generator=random),
        action=torch.rand(B, T, A, generator=random) * 2 - 1,
        reward=torch.randn(B, T, generator=random),
        terminated=torch.zeros(B, T),
        mask=torch.ones(B, T),
        has_reward=torch.ones(B),
    )
    return batch._replace(**parts)


def return_batch() -> ReturnBatch:
    random = torch.Generator().manual_seed(1)
    return ReturnBatch(
        torch.randn(B, D, generator=random), torch.rand(B, A, generator=random) * 2 - 1,
        torch.randn(B, generator=random), torch.full((B,), 0.97), torch.randn(B, D, generator=random),
    )  # fmt: skip


def loss_of(learner: Learner, batch: UnrollBatch) -> tuple[float, dict[str, float]]:
    loss, terms = embedding_loss(
        learner.online["embedding"], learner.target["embedding"], batch, learner.config
    )
    return loss.item(), {name: term.item() for name, term in terms.items()}


# --- rewards


def test_two_hot_weights_give_back_the_reward() -> None:
    rewards = torch.tensor([-2e4, -37.5, -1.0, -0.01, 0.0, 1e-4, 0.3, 1.0, 12.0, 999.0, 2e4])
    lower, weight = two_hot.two_hot(rewards)
    edges = two_hot.bins()
    decoded = (1 - weight) * edges[lower] + weight * edges[lower + 1]
    np.testing.assert_allclose(decoded, rewards, rtol=1e-5, atol=1e-5)


def test_the_cross_entropy_is_smallest_at_the_two_hot_distribution() -> None:
    reward = torch.tensor([0.7, -3.0])
    lower, weight = two_hot.two_hot(reward)
    probability = torch.zeros(2, two_hot.NUM_BINS)
    probability[torch.arange(2), lower] = 1 - weight
    probability[torch.arange(2), lower + 1] = weight
    logits = probability.clamp(min=1e-12).log()
    np.testing.assert_allclose(two_hot.decode(logits), reward, rtol=1e-5)
    best = two_hot.cross_entropy(logits, reward)
    for seed in range(5):
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
        assert (two_hot.cross_entropy(logits + noise, reward) > best).all()


# --- loss of the embedding


@pytest.mark.parametrize("part", ["inputs", "action", "reward", "terminated"])
def test_the_embedding_loss_does_not_depend_on_what_follows_the_end_of_an_episode(part: str) -> None:
    learner, mask = make_learner(), torch.ones(B, T)
    mask[3, 1:] = 0.0  # the episode ends with the first step
    before = unroll_batch(mask=mask)
    values = getattr(before, part).clone()
    values[3, 2 if part == "inputs" else 1 :] = 1.0
    after = before._replace(**{part: values})
    assert loss_of(learner, after)[1] == pytest.approx(loss_of(learner, before)[1])
    unmasked = torch.ones(B, T)
    assert loss_of(learner, after._replace(mask=unmasked))[0] != pytest.approx(
        loss_of(learner, before._replace(mask=unmasked))[0]
    )


def test_without_known_rewards_the_embedding_loss_does_not_depend_on_rewards() -> None:
    learner = make_learner()
    batches = [unroll_batch(reward=torch.full((B, T), r), has_reward=torch.zeros(B)) for r in (0.0, 9.0)]
    (first, terms), (second, _) = (loss_of(learner, batch) for batch in batches)
    assert first == second
    assert terms["reward"] == 0.0
    assert min(v for name, v in terms.items() if name != "reward") > 0.0


def test_the_target_embedding_gets_no_gradient_and_every_part_of_the_embedding_gets_one() -> None:
    learner = make_learner()
    online, target = learner.online["embedding"], learner.target["embedding"]
    embedding_loss(online, target, unroll_batch(), learner.config)[0].backward()
    assert all(p.grad is None for p in target.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in online.parameters())


def test_repeated_updates_reduce_the_embedding_loss() -> None:
    learner, batch = make_learner(), unroll_batch()
    first = loss_of(learner, batch)[0]
    for _ in range(100):
        learner.update_embedding(batch)
    assert loss_of(learner, batch)[0] < 0.8 * first


# --- updates


def test_actor_and_critic_do_not_train_the_embedding() -> None:
    learner = make_learner()
    before = {name: weights(network) for name, network in learner.online.items()}
    learner.update_actor_critic(return_batch(), torch.zeros(B, A))
    changed = {name for name, network in learner.online.items() if (weights(network) != before[name]).any()}
    assert changed == {"value", "policy"}


def test_the_embedding_loss_trains_nothing_but_the_embedding() -> None:
    learner = make_learner()
    before = {name: weights(network) for name, network in learner.online.items()}
    target = weights(learner.target)
    learner.update_embedding(unroll_batch())
    changed = {name for name, network in learner.online.items() if (weights(network) != before[name]).any()}
    assert changed == {"embedding"}
    assert np.array_equal(weights(learner.target), target)


def test_values_after_a_termination_are_not_counted() -> None:
    learner, batch = make_learner(), return_batch()._replace(discount=torch.zeros(B))
    desired = learner._target_values(batch, torch.zeros(B, A))
    assert torch.equal(desired, batch.returned)


def test_the_scale_of_rewards_does_not_change_the_targets_in_units_of_reward() -> None:
    learner, batch = make_learner(), return_batch()._replace(returned=torch.zeros(B))
    learner.copy_targets(5.0)
    learner.copy_targets(5.0)  # the target values are in units of 5 now
    scaled = learner._target_values(batch, torch.zeros(B, A))
    learner.reward_scale = 10.0
    assert torch.allclose(learner._target_values(batch, torch.zeros(B, A)), scaled / 2)
