"""Laws of the objectives: masked steps give no gradient, each falls on what is learnable and not on noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from world_model_toys import ToyStream, fickle, linear, noise, pictures

from robossl import registry
from robossl.core.errors import UsageError
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.objective import Objective
from robossl.world_model.objectives import objective


def small(*objectives: str) -> WorldModelConfig:
    return WorldModelConfig(
        latent_dim=16, encoder_hidden=(64,), dynamics_hidden=(64,), inverse_hidden=(64,), decoder_hidden=(64,), ensemble_size=3, batch_size=96,
        unroll_steps=4, objectives=objectives,
    )  # fmt: skip


LOOKING = [name for name in registry.names("objectives") if objective(name).images]
TELLING = [name for name in registry.names("objectives") if name not in LOOKING]


def taught(stream: ToyStream, *objectives: str, updates: int = 0) -> WorldModelTrainer:
    model = WorldModel(small(*objectives), stream.observation_space, stream.action_space, seed=0)
    learner = WorldModelTrainer(model, stream, device="cpu")
    learner.update(max(updates, 1))
    return learner


def held_out(learner: WorldModelTrainer, name: str, windows: int = 600, steps: int = 4) -> float:
    window = learner.stream.windows(windows, steps, np.random.default_rng(5), split="test")
    with torch.no_grad():
        return float(
            objective(name).loss(encode_windows(learner.ema_model, window, torch.Generator().manual_seed(0)))
        )


@pytest.mark.parametrize("name", TELLING)
def test_masked_steps_give_no_gradient(name: str) -> None:
    stream = linear()
    learner = taught(stream, "forward", "inverse", *({name} - {"forward", "inverse"}))
    window = stream.windows(96, 4, np.random.default_rng(0))
    window.valid[:, :] = True
    window.valid[::3, 2] = False
    window.valid[1::3, 0] = False

    def gradients() -> dict[str, torch.Tensor]:
        learner.ema_model.zero_grad(set_to_none=True)
        objective(name).loss(
            encode_windows(learner.ema_model, window, torch.Generator().manual_seed(0))
        ).backward()
        return {n: p.grad for n, p in learner.ema_model.named_parameters() if p.grad is not None}

    before = gradients()
    assert any(bool(g.abs().sum() > 0) for g in before.values())
    window.observation[::3, 3:] = 7.0
    window.observation[1::3, 1:] = -3.0
    window.action[::3, 2:] = 1.5
    window.action[1::3] = -1.5
    after = gradients()
    assert before.keys() == after.keys()
    for parameter, gradient in before.items():
        assert torch.equal(gradient, after[parameter]), parameter


def test_masked_pictures_give_no_gradient() -> None:
    stream, name = (
        pictures("floor", 10),
        "image_reconstruction",
    )  # the others look at a window's first pictures alone
    learner = taught(stream, "forward", "inverse", name, updates=1)
    window = stream.windows(24, 5, np.random.default_rng(0))
    window.valid[:, :] = True
    window.valid[::3, 3] = False

    def gradients() -> dict[str, torch.Tensor]:
        learner.ema_model.zero_grad(set_to_none=True)
        objective(name).loss(
            encode_windows(learner.ema_model, window, torch.Generator().manual_seed(0))
        ).backward()
        return {n: p.grad for n, p in learner.ema_model.named_parameters() if p.grad is not None}

    before = gradients()
    window.observation[::3, 4:] = 255 - window.observation[::3, 4:]
    after = gradients()
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[n], after[n], rtol=1e-4, atol=1e-6) for n in before)
    window.observation[1::3, 4:] = 255 - window.observation[1::3, 4:]  # what is real does count
    seen = gradients()
    assert any(not torch.allclose(before[n], seen[n], rtol=1e-4, atol=1e-6) for n in before)


@pytest.mark.parametrize("name", TELLING)
def test_it_falls_on_a_learnable_world(name: str) -> None:
    partners = {"error_prediction": ["forward", "inverse", "reconstruction"]}.get(name, [])
    partners = ["inverse", "reconstruction"] if name in ("forward", "forward_detached") else partners
    stream = fickle(episodes=300) if name == "error_prediction" else linear(episodes=300)
    share = (
        0.75 if name == "contrastive" else 0.5
    )  # near neighbours are hard to tell apart, however well foreseen
    before = held_out(taught(stream, name, *partners), name)
    before = min(before, 1.0) if name == "error_prediction" else before  # it begins above a blind guess
    assert held_out(taught(stream, name, *partners, updates=300), name) < share * before


@pytest.mark.parametrize("name", LOOKING)
def test_a_pretext_falls_on_pictures_with_an_order_and_not_on_noise(name: str) -> None:
    config = WorldModelConfig(
        **{**small(name).to_json(), "batch_size": 48, "unroll_steps": 1, "learning_rate": 3e-3}
    )
    seen = {}
    for kind, episodes, updates in (("floor", 150, 0), ("floor", 150, 50), ("noise", 150, 50)):
        stream = pictures(kind, episodes)
        learner = WorldModelTrainer(
            WorldModel(config, stream.observation_space, stream.action_space), stream, device="cpu"
        )
        learner.update(max(updates, 1))
        seen[kind, updates] = held_out(learner, name, windows=200, steps=2)
    assert seen["floor", 50] < 0.85 * seen["floor", 0]
    assert seen["noise", 50] > 0.95  # 1 is a blind guess


def test_a_pretext_for_pictures_is_refused_where_there_are_none() -> None:
    for name in LOOKING:
        with pytest.raises(UsageError, match=f"'{name}' looks at images"):
            taught(linear(), name)


def test_an_onlooker_shapes_nothing() -> None:
    stream = linear()
    learner = taught(stream, "forward_detached", "inverse")
    learner.ema_model.zero_grad(set_to_none=True)
    batch = encode_windows(
        learner.ema_model, stream.windows(96, 4, np.random.default_rng(0)), torch.Generator()
    )
    objective("forward_detached").loss(batch).backward()
    assert all(p.grad is None for p in learner.ema_model.encoder.parameters())
    assert any(p.grad is not None for p in learner.ema_model.dynamics.parameters())


@pytest.mark.parametrize("name", ["inverse", "multistep_inverse", "contrastive", "masked_latent"])
def test_noise_stays_a_riddle(name: str) -> None:
    assert held_out(taught(noise(episodes=3000), name, updates=250), name) > 0.95  # 1 is a blind guess


def test_the_error_of_guessing_noise_cannot_be_foretold() -> None:
    learner = taught(
        noise(episodes=3000), "error_prediction", "forward", "inverse", "reconstruction", updates=250
    )
    assert (
        held_out(learner, "error_prediction") > 0.9
    )  # a guess that strays errs more, and that much can be known


@pytest.mark.parametrize("name", [name for name in registry.names("objectives") if objective(name).detached])
def test_what_stands_apart_changes_nothing_else(name: str) -> None:
    """The same weights to the bit, also where gradients are clipped: a head of its own, with a norm of its own."""
    together, alone = (
        taught(linear(), *first, "forward", "inverse", "multistep_inverse", updates=40)
        for first in ([name], [])
    )
    weights, more = alone.model.state_dict(), together.model.state_dict()
    assert all(torch.equal(weights[key], more[key]) for key in weights)
    assert {key.split(".")[1] for key in more.keys() - weights.keys()} == {name}


def test_what_stands_apart_needs_a_head_to_shape() -> None:
    with pytest.raises(UsageError, match="give `build` as well"):
        Objective(lambda batch: batch.z.square().mean(), detached=True)


def test_the_observation_of_noise_cannot_be_foreseen() -> None:
    assert held_out(taught(noise(episodes=3000), "reconstruction", updates=250), "reconstruction") > 0.25


def test_variance_is_smallest_where_dimensions_are_independent() -> None:
    stream = linear()
    learner = taught(stream, "forward", "inverse")
    batch = encode_windows(
        learner.ema_model, stream.windows(96, 4, np.random.default_rng(0)), torch.Generator()
    )
    spread = torch.randn(batch.z.shape, generator=torch.Generator().manual_seed(0))
    loss = objective("vicreg").loss
    constant, apart = (type(batch)(batch.model, z, batch.vector, batch.code, batch.mask, batch.random)
                       for z in (torch.ones_like(spread), spread))  # fmt: skip
    assert float(loss(constant)) > 0.95
    assert float(loss(apart)) < 0.1


def test_forward_waits_until_the_inverse_has_begun() -> None:
    blind = taught(noise(episodes=3000), "forward", "inverse", updates=200)
    seeing = taught(linear(), "forward", "inverse", updates=200)
    assert float(blind.loss_balancer.inverse_error_ema) > 0.9
    assert float(seeing.loss_balancer.inverse_error_ema) < 0.2
    losses = {"forward": torch.tensor(1.0), "inverse": torch.tensor(0.0)}
    assert float(blind.loss_balancer.total(losses)) < 0.3
    assert float(seeing.loss_balancer.total(losses)) == pytest.approx(1.0)


def test_foreign_objectives_are_found_by_name() -> None:
    mine = Objective(lambda batch: batch.z.square().mean(), prevents_collapse=True)
    registry.register("objectives", "test_only", mine)
    registry.register("objectives", "test_only", mine)
    assert objective("test_only") is mine
    assert "test_only" in registry.names("objectives")
    with pytest.raises(UsageError, match="taken"):
        registry.register("objectives", "forward", mine)
    with pytest.raises(UsageError, match="taken"):
        registry.register("objectives", "test_only", Objective(mine.loss))
    taught(linear(), "test_only:0.5", "inverse", updates=2)
