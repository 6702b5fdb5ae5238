"""Objectives give masked steps no gradient, decrease on learnable data, and stay at the baseline on noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from world_model_toys import SMALL_CONFIG, ToyStream, impulses, linear, make_trainer, noise, scenes

from robossl import registry
from robossl.core.errors import UsageError
from robossl.streams import Window
from robossl.world_model import WorldModelConfig, WorldModelTrainer
from robossl.world_model.encoded_batch import EncodedBatch, encode_windows
from robossl.world_model.objective import Objective
from robossl.world_model.objectives import objective

IMAGE_OBJECTIVES = [name for name in registry.names("objectives") if objective(name).images]
VECTOR_OBJECTIVES = [name for name in registry.names("objectives") if name not in IMAGE_OBJECTIVES]


def config_with(*objectives: str) -> WorldModelConfig:
    return replace(SMALL_CONFIG, unroll_steps=4, objectives=objectives)


def train(stream: ToyStream, *objectives: str, updates: int = 1) -> WorldModelTrainer:
    trainer = make_trainer(stream, config_with(*objectives))
    trainer.update(updates)
    return trainer


def encode(trainer: WorldModelTrainer, window: Window) -> EncodedBatch:
    return encode_windows(trainer.model, window, torch.Generator().manual_seed(0))


def evaluate_loss(trainer: WorldModelTrainer, name: str, windows: int = 600, steps: int = 4) -> float:
    """Return the loss of the averaged model on the test split."""
    window = trainer.stream.windows(windows, steps, np.random.default_rng(5), split="test")
    with torch.no_grad():
        batch = encode_windows(trainer.ema_model, window, torch.Generator().manual_seed(0))
        return float(objective(name).loss(batch))


def gradients(trainer: WorldModelTrainer, name: str, window: Window) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad(set_to_none=True)
    objective(name).loss(encode(trainer, window)).backward()
    return {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", VECTOR_OBJECTIVES)
def test_masked_steps_have_no_gradient(name: str) -> None:
    stream = linear()
    trainer = train(stream, "forward", "inverse", *({name} - {"forward", "inverse"}))
    window = stream.windows(96, 4, np.random.default_rng(0))
    window.valid[:, :] = True
    window.valid[::3, 2] = False
    window.valid[1::3, 0] = False
    before = gradients(trainer, name, window)
    assert any(bool(g.abs().sum() > 0) for g in before.values())
    window.observation[::3, 3:] = 7.0
    window.observation[1::3, 1:] = -3.0
    window.action[::3, 2:] = 1.5
    window.action[1::3] = -1.5
    after = gradients(trainer, name, window)
    assert before.keys() == after.keys()
    for parameter, gradient in before.items():
        assert torch.equal(gradient, after[parameter]), parameter


def test_masked_images_have_no_gradient() -> None:
    stream, name = scenes("floor", 10), "image_reconstruction"  # the others use the first images of a window
    trainer = train(stream, "forward", "inverse", name)
    window = stream.windows(24, 5, np.random.default_rng(0))
    window.valid[:, :] = True
    window.valid[::3, 3] = False
    before = gradients(trainer, name, window)
    window.observation[::3, 4:] = 255 - window.observation[::3, 4:]
    after = gradients(trainer, name, window)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[n], after[n], rtol=1e-4, atol=1e-6) for n in before)
    window.observation[1::3, 4:] = 255 - window.observation[1::3, 4:]  # valid images have one
    changed = gradients(trainer, name, window)
    assert any(not torch.allclose(before[n], changed[n], rtol=1e-4, atol=1e-6) for n in before)


@pytest.mark.parametrize("name", VECTOR_OBJECTIVES)
def test_loss_decreases_on_learnable_data(name: str) -> None:
    others = {
        "error_prediction": ["forward", "inverse", "reconstruction"],
        "forward": ["inverse", "reconstruction"],
        "forward_detached": ["inverse", "reconstruction"],
    }.get(name, [])
    stream = impulses(episodes=300) if name == "error_prediction" else linear(episodes=300)
    factor = 0.75 if name == "contrastive" else 0.5  # similar states remain hard to distinguish
    before = evaluate_loss(train(stream, name, *others), name)
    if name == "error_prediction":
        before = min(before, 1.0)  # it starts above the constant baseline
    assert evaluate_loss(train(stream, name, *others, updates=300), name) < factor * before


@pytest.mark.parametrize("name", IMAGE_OBJECTIVES)
def test_image_loss_decreases_on_scenes_and_not_on_noise(name: str) -> None:
    config = replace(config_with(name), batch_size=48, unroll_steps=1, learning_rate=3e-3)
    losses = {}
    for kind, updates in (("floor", 1), ("floor", 50), ("noise", 50)):
        trainer = make_trainer(scenes(kind, 150), config)
        trainer.update(updates)
        losses[kind, updates] = evaluate_loss(trainer, name, windows=200, steps=2)
    assert losses["floor", 50] < 0.85 * losses["floor", 1]
    assert losses["noise", 50] > 0.95  # 1 is the baseline


def test_image_objective_without_images_is_rejected() -> None:
    for name in IMAGE_OBJECTIVES:
        with pytest.raises(UsageError, match=f"objective '{name}': expected image observations"):
            train(linear(), name)


def test_forward_detached_gives_the_encoder_no_gradient() -> None:
    stream = linear()
    trainer = train(stream, "forward_detached", "inverse")
    trainer.model.zero_grad(set_to_none=True)
    batch = encode(trainer, stream.windows(96, 4, np.random.default_rng(0)))
    objective("forward_detached").loss(batch).backward()
    assert all(p.grad is None for p in trainer.model.encoder.parameters())
    assert any(p.grad is not None for p in trainer.model.dynamics.parameters())


@pytest.mark.parametrize("name", ["inverse", "multistep_inverse", "contrastive", "masked_latent"])
def test_loss_on_noise_stays_at_the_baseline(name: str) -> None:
    assert evaluate_loss(train(noise(episodes=3000), name, updates=250), name) > 0.95


def test_error_on_noise_cannot_be_predicted() -> None:
    objectives = ("error_prediction", "forward", "inverse", "reconstruction")
    trainer = train(noise(episodes=3000), *objectives, updates=250)
    # Not 1: predictions far from the mean have larger errors, and that is predictable.
    assert evaluate_loss(trainer, "error_prediction") > 0.9


@pytest.mark.parametrize("name", [name for name in registry.names("objectives") if objective(name).detached])
def test_detached_objective_does_not_change_other_weights(name: str) -> None:
    """Not by one bit, although gradients are clipped: its head is clipped by its own norm."""
    with_it, without = (
        train(linear(), *first, "forward", "inverse", "multistep_inverse", updates=40)
        for first in ([name], [])
    )
    expected, weights = without.model.state_dict(), with_it.model.state_dict()
    assert all(torch.equal(expected[key], weights[key]) for key in expected)
    assert {key.split(".")[1] for key in weights.keys() - expected.keys()} == {name}


def test_detached_objective_without_a_head_is_rejected() -> None:
    with pytest.raises(UsageError, match="make_head"):
        Objective(lambda batch: batch.z.square().mean(), detached=True)


def test_reconstruction_of_noise_stays_above_its_limit() -> None:
    assert evaluate_loss(train(noise(episodes=3000), "reconstruction", updates=250), "reconstruction") > 0.25


def test_vicreg_is_small_for_independent_dimensions_and_large_for_constant_ones() -> None:
    stream = linear()
    batch = encode(train(stream, "forward", "inverse"), stream.windows(96, 4, np.random.default_rng(0)))
    independent = torch.randn(batch.z.shape, generator=torch.Generator().manual_seed(0))
    loss = objective("vicreg").loss
    assert float(loss(replace(batch, z=torch.ones_like(independent)))) > 0.95
    assert float(loss(replace(batch, z=independent))) < 0.1


def test_forward_weight_is_small_until_inverse_dynamics_works() -> None:
    on_noise = train(noise(episodes=3000), "forward", "inverse", updates=200).loss_balancer
    on_linear = train(linear(), "forward", "inverse", updates=200).loss_balancer
    assert float(on_noise.inverse_error_ema) > 0.9
    assert float(on_linear.inverse_error_ema) < 0.2
    losses = {"forward": torch.tensor(1.0), "inverse": torch.tensor(0.0)}
    assert float(on_noise.total(losses)) < 0.3
    assert float(on_linear.total(losses)) == pytest.approx(1.0)


def test_registered_objective_is_found_by_name_and_trains() -> None:
    custom = Objective(lambda batch: batch.z.square().mean(), prevents_collapse=True)
    registry.register("objectives", "test_only", custom)
    registry.register("objectives", "test_only", custom)
    assert objective("test_only") is custom
    assert "test_only" in registry.names("objectives")
    for name, value in (("forward", custom), ("test_only", Objective(custom.loss))):
        with pytest.raises(UsageError, match="taken"):
            registry.register("objectives", name, value)
    train(linear(), "test_only:0.5", "inverse", updates=2)
