"""Any torch module can replace the built-in encoder: trained or frozen, saved, loaded, resumed and evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from robossl.agents.sb3.features import FeatureBuilder
from torch import nn
from world_model_toys import TINY_CONFIG, ToyStream, images_only, linear, make_trainer, moving_square

import robossl
from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.prediction import prediction_skill
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelEnv, WorldModelTrainer

CONFIG = replace(TINY_CONFIG, image_size=48)


class Mixed(nn.Module):
    """An encoder of a vector and an image."""

    def __init__(self) -> None:
        super().__init__()
        self.speed = nn.Linear(2, 5)
        self.camera = convolution()

    def forward(self, leaves: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([self.speed(leaves["speed"]), self.camera(leaves["camera"])], 1)


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()
    )


CASES = {
    "vector": (linear, lambda: nn.Sequential(nn.Linear(4, 16), nn.Tanh())),
    "vector_without_projection": (linear, lambda: nn.Linear(4, 8)),
    "image": (lambda: images_only(moving_square()), convolution),
    "vector_and_image": (moving_square, Mixed),
}


def case(name: str, frozen: bool = False) -> tuple[ToyStream, nn.Module]:
    make_stream, make_encoder = CASES[name]
    torch.manual_seed(0)
    return make_stream(), make_encoder().requires_grad_(not frozen)


def trainer_with(stream: ToyStream, encoder: nn.Module, seed: int = 0) -> WorldModelTrainer:
    model = WorldModel(CONFIG, stream.observation_space, stream.action_space, seed, encoder)
    return WorldModelTrainer(model, stream, seed, device="cpu")


def states_equal(first: nn.Module, second: nn.Module) -> bool:
    expected, got = first.state_dict(), second.state_dict()
    return expected.keys() == got.keys() and all(torch.equal(expected[k], got[k]) for k in expected)


@pytest.mark.parametrize("name", CASES)
def test_module_receives_normalized_vectors_and_unit_range_images(name: str) -> None:
    stream, encoder = case(name)
    received = []
    encoder.register_forward_pre_hook(lambda _, args: received.append(args[0]))
    trainer = trainer_with(stream, encoder)
    trainer.update(1)
    window = stream.windows(6, 3, np.random.default_rng(0))
    received.clear()
    z = trainer.ema_model.encode(window.observation)
    assert z.shape == (6, 4, CONFIG.latent_dim)
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(-1), 1, atol=1e-2)
    leaves = received[0] if isinstance(received[0], dict) else {"": received[0]}
    assert isinstance(received[0], dict) == (name == "vector_and_image")
    for leaf in leaves.values():
        assert len(leaf) == 24
        if leaf.ndim == 4:
            assert leaf.shape == (24, 3, 48, 48)
            assert 0 <= float(leaf.min()) <= float(leaf.max()) <= 1
        else:
            assert float(leaf.abs().max()) <= 10


@pytest.mark.parametrize("name", CASES)
def test_trainable_module_is_trained_and_its_copy_outside_is_not(name: str) -> None:
    stream, encoder = case(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    trainer = trainer_with(stream, encoder)
    losses = trainer.update(3)
    assert np.isfinite(list(losses.values())).all()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    for parameter, (key, _) in zip(trainer.model.encoder.module.parameters(), encoder.named_parameters()):
        assert not torch.equal(parameter, before[key]), key
    for own, trained in zip(
        trainer.ema_model.encoder.module.buffers(), trainer.model.encoder.module.buffers()
    ):
        assert torch.equal(own, trained), "the statistics of a BatchNorm follow the training"


@pytest.mark.parametrize("name", CASES)
def test_frozen_module_does_not_change_in_training(name: str) -> None:
    stream, encoder = case(name, frozen=True)
    trainer = trainer_with(stream, encoder)
    first = trainer.update(2)
    trainer.update(100)
    for model in (trainer.model, trainer.ema_model, trainer.publish()):
        assert states_equal(model.encoder.module, encoder)
        assert not any(m.training for m in model.encoder.module.modules())
        assert not any(p.requires_grad for p in model.encoder.module.parameters())
    assert trainer.update(2)["loss"] < first["loss"]


def test_frozen_part_stays_in_evaluation_mode_and_the_rest_is_trained() -> None:
    stream, encoder = case("vector_and_image")
    encoder.camera.requires_grad_(False)
    trainer = trainer_with(stream, encoder)
    trainer.update(3)
    module = trainer.model.encoder.module
    assert states_equal(module.camera, encoder.camera)
    assert not module.camera.training
    assert module.speed.training
    assert not torch.equal(module.speed.weight, encoder.speed.weight)


@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
@pytest.mark.parametrize("name", CASES)
def test_saved_model_loads_with_a_fresh_module_of_the_same_structure(
    name: str, frozen: bool, tmp_path
) -> None:
    stream, encoder = case(name, frozen)
    trainer = trainer_with(stream, encoder)
    trainer.update(3)
    trainer.publish().save(tmp_path)
    torch.manual_seed(1)
    fresh = CASES[name][1]().requires_grad_(not frozen)
    loaded = WorldModel.load(tmp_path, "cpu", encoder=fresh)
    observation = stream.windows(5, 1, np.random.default_rng(0)).observation
    np.testing.assert_array_equal(loaded.encode(observation), trainer.ema_model.encode(observation))
    assert all(p.requires_grad != frozen for p in loaded.trainable_copy().encoder.module.parameters())


def test_loading_without_or_with_an_unsuitable_module_is_rejected_in_one_line(tmp_path) -> None:
    stream, encoder = case("image")
    trainer_with(stream, encoder).ema_model.save(tmp_path / "custom")
    make_trainer(stream, CONFIG).ema_model.save(tmp_path / "built_in")
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 36))
    for folder, module, message in (
        ("custom", None, r"expected the custom encoder Sequential .* encoder=Sequential"),
        ("custom", other, "the encoder Sequential does not fit the saved Sequential"),
        ("built_in", encoder, "expected no encoder for a model with the built-in one, got Sequential"),
    ):
        with pytest.raises(UsageError, match=message) as raised:
            WorldModel.load(tmp_path / folder, encoder=module)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(7, 3), r"failed on an input of observation \(B, 4\)"),
        (nn.Unflatten(1, (2, 2)), r"expected an output \(B, F\) .* got \(2, 2, 2\)"),
    ],
    ids=["input", "output"],
)
def test_module_with_other_shapes_is_rejected_in_one_line(module: nn.Module, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        trainer_with(linear(), module)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["vector", "image"])
def test_resumed_training_equals_uninterrupted_training(name: str, tmp_path) -> None:
    stream, encoder = case(name)
    uninterrupted, first = trainer_with(stream, encoder), trainer_with(stream, encoder)
    uninterrupted.update(6)
    first.update(4)
    save_tree(tmp_path / "checkpoint.safetensors", first.get_checkpoint())
    resumed = trainer_with(stream, CASES[name][1](), seed=9)
    resumed.set_checkpoint(load_tree(tmp_path / "checkpoint.safetensors"))
    resumed.update(2)
    assert states_equal(uninterrupted.model, resumed.model)
    assert states_equal(uninterrupted.ema_model, resumed.ema_model)


def test_image_objectives_train_through_the_module() -> None:
    stream, encoder = case("image")
    config = replace(
        CONFIG,
        objectives=("forward", "inverse", "rotation", "inpainting", "image_reconstruction"),
        random_shift=2,
    )
    model = WorldModel(config, stream.observation_space, stream.action_space, encoder=encoder)
    losses = WorldModelTrainer(model, stream, device="cpu").update(2)
    assert np.isfinite(list(losses.values())).all()


def test_reinitialized_model_keeps_the_frozen_module() -> None:
    stream, encoder = case("image", frozen=True)
    model = trainer_with(stream, encoder).publish()
    fresh = model.reinitialized(replace(CONFIG, objectives=("forward",)))
    assert states_equal(fresh.encoder.module, encoder)
    assert not any(p.requires_grad for p in fresh.trainable_copy().encoder.module.parameters())


def test_pretrained_model_is_evaluated_imagined_and_used_by_agents(tmp_path) -> None:
    """The whole path on recorded data: pretrain, load, held-out evaluation, imagined rollouts, agent features."""
    envs = robossl.make("robossl/CartPoleSwingUp-v0", 8, threads=1)
    stream = robossl.collect(envs, "random", 3_000, tmp_path / "stream")
    assert isinstance(stream, Stream)
    dim = int(envs.single_observation_space.shape[0])
    encoder = nn.Sequential(nn.Linear(dim, 32), nn.Tanh())
    out = tmp_path / "model"
    pretrained = robossl.pretrain(stream, 20, CONFIG, out, device="cpu", encoder=encoder)
    model = WorldModel.load(out, "cpu", encoder=encoder)
    observation, _ = envs.reset(seed=0)
    z = model.encode(observation)
    np.testing.assert_array_equal(z, pretrained.encode(observation))
    assert "encoder `Sequential`" in (out / "card.md").read_text()
    with pytest.raises(UsageError, match="expected the custom encoder Sequential"):
        robossl.evaluate(out, stream, out=tmp_path / "evaluation")
    skill = prediction_skill(model, load_heldout(model, stream, 0), (1,))["skill"]["1"]
    assert np.isfinite(skill["mean"])
    imagined = WorldModelEnv(model, stream, 4, 5)
    assert imagined.reset(seed=0)[0] in imagined.observation_space
    features = FeatureBuilder(envs.single_observation_space, model.frozen_copy())(observation)
    assert features.shape == (8, CONFIG.latent_dim + dim)
    envs.close()
