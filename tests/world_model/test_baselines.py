"""Baseline representations: each computes what its name promises, trains and loads as a world model, and resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from world_model_toys import SMALL_CONFIG, ToyStream, images_only, linear, make_trainer, moving_square

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel
from robossl.world_model.baselines import BASELINES, baseline_config
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.pca import IncrementalPca

IMAGE_CONFIG = replace(SMALL_CONFIG, batch_size=24, unroll_steps=2)


def trained(name: str, stream: ToyStream, updates: int = 0, config=SMALL_CONFIG):
    """Return a trainer of a baseline after some updates."""
    trainer = make_trainer(stream, baseline_config(name, config, stream.observation_space))
    trainer.update(updates)
    return trainer


def test_batches_of_pca_give_the_decomposition_of_all_rows() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(600, 200, generator=random, dtype=torch.float64)
    rows = rows * 3 * 0.95 ** torch.arange(200) + torch.arange(200)
    pca = IncrementalPca(200, 5)
    for part in rows.split(150):
        pca.add(part)
    components, variance = pca.components(5)
    centered = rows - rows.mean(0)
    exact = torch.linalg.eigh(centered.T @ centered / len(rows))
    assert torch.allclose(variance, exact.eigenvalues.flip(0)[:5], rtol=2e-3)
    assert pca.total == pytest.approx(float(centered.square().sum()))
    overlap = (components @ exact.eigenvectors.flip(1)[:, :5]).abs().diagonal()
    assert overlap.min() > 0.99


def test_pca_of_few_values_is_exact_and_keeps_distances() -> None:
    stream = linear(episodes=60)
    model = trained("pca", stream).ema_model
    z = model.encode(stream.observation).reshape(-1, 16)
    assert np.allclose(z[:, 4:], 0)  # beyond the rank of the observations
    train = z[:, :4]
    assert np.square(train).mean() == pytest.approx(1, rel=0.1)
    covariance = np.cov(train.T)
    off_diagonal = covariance - np.diag(np.diag(covariance))
    assert np.abs(off_diagonal).max() < 0.1  # fitted to other samples of the same episodes
    assert (np.diff(np.diag(covariance)) < 0.05).all()
    normalized = model.observation_processor.normalize({"": torch.from_numpy(stream.observation)}).reshape(
        -1, 4
    )
    ratio = torch.cdist(normalized[:50], normalized[:50]).numpy() / np.maximum(
        np.linalg.norm(z[:50, None] - z[None, :50], axis=-1), 1e-9
    )
    assert ratio[~np.eye(50, dtype=bool)].std() < 1e-3
    assert model.metadata["pca_explained_variance"] == pytest.approx(1, abs=1e-6)


def test_pca_of_images_finds_the_position_of_the_square(monkeypatch) -> None:
    monkeypatch.setattr("robossl.world_model.pca._BATCHES_WITH_IMAGES", 3)
    stream = images_only(moving_square(episodes=40))
    model = trained("pca", stream, config=IMAGE_CONFIG).ema_model
    z = model.encode(stream.observation[:, 1:], stream.observation[:, :-1]).reshape(-1, 16)
    assert 0.1 < model.metadata["pca_explained_variance"] < 1
    brightness = stream.observation[:, 1:].reshape(-1, 64, 64, 3).mean(-1)
    column = (brightness.sum(1) * np.arange(64)).sum(1) / brightness.sum((1, 2))
    inputs = np.concatenate([z, np.ones((len(z), 1))], 1)
    residual = column - inputs @ np.linalg.lstsq(inputs, column, rcond=None)[0]
    assert residual.var() < 0.65 * column.var()  # a small square takes many components


def test_normalized_baseline_is_the_observation_in_units_of_the_stream() -> None:
    stream = linear(episodes=60)
    model = trained("normalized", stream).ema_model
    z = model.encode(stream.observation)
    assert z.shape == stream.observation.shape
    assert np.allclose(z, model.observation_processor.normalize({"": torch.from_numpy(stream.observation)}))
    assert z.reshape(-1, 4).std(0) == pytest.approx(1, rel=0.1)


def test_scrambled_observation_is_complete_and_noise_carries_nothing_over() -> None:
    stream = linear(episodes=60)
    scrambled, noise = (trained(name, stream).ema_model for name in ("scrambled", "noise"))
    observation = stream.observation.reshape(-1, 4)
    z = scrambled.encode(observation)
    inputs = np.concatenate([z, np.ones((len(z), 1))], 1)
    assert np.allclose(inputs @ np.linalg.lstsq(inputs, observation, rcond=None)[0], observation, atol=1e-4)
    assert np.square(z).mean() == pytest.approx(1, rel=0.1)
    z = noise.encode(observation)
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(z.T) - np.eye(16)).max() < 0.12
    assert np.abs(np.corrcoef(z.T, observation.T)[:16, 16:]).max() < 0.12
    assert np.array_equal(noise.encode(observation[:7]), z[:7])
    nearby = noise.encode(observation * (1 + 1e-4))
    assert abs(np.corrcoef(nearby.ravel(), z.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_trains_its_dynamics_and_loads_to_the_same_bits(name, tmp_path) -> None:
    stream = linear(episodes=60)
    trainer = trained(name, stream, 0)
    before = {k: v.clone() for k, v in trainer.ema_model.encoder.state_dict().items()}
    trainer.update(6)
    fixed = name not in ("autoencoder", "time_shuffled")
    after = trainer.ema_model.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before) == fixed
    model = trainer.publish()
    model.save(tmp_path)
    loaded = WorldModel.load(tmp_path, "cpu")
    assert np.array_equal(loaded.encode(stream.observation), model.encode(stream.observation))
    copy = trained(name, stream, 4)
    rest = trained(name, stream, 0)
    rest.set_checkpoint(copy.get_checkpoint())
    rest.update(2)
    resumed = rest.ema_model.state_dict()
    assert all(torch.equal(resumed[k], v) for k, v in trainer.ema_model.state_dict().items())


def test_only_the_autoencoding_loss_trains_the_encoder_of_the_autoencoder() -> None:
    stream = linear(episodes=60)
    config = baseline_config("autoencoder", SMALL_CONFIG, stream.observation_space)
    assert config.encoder_objectives == ("autoencoding",)
    assert set(config.objectives) > {"forward", "inverse", "autoencoding"}
    encoders = []
    for objectives in (config.objectives, ("autoencoding",)):
        settings = replace(config, objectives=objectives, max_grad_norm=1e9)  # a common clip couples them
        trainer = make_trainer(stream, settings)
        trainer.update(1)
        encoders.append(torch.cat([p.flatten() for p in trainer.model.encoder.parameters()]))
    weights = sum(p.numel() for p in trainer.model.encoder.parameters())
    assert weights > 1000
    # Initial weights of heads differ, so compare the direction of the first step of Adam.
    assert torch.allclose(encoders[0], encoders[1], atol=1e-6)


def test_shuffled_windows_keep_each_observation_and_lose_their_order() -> None:
    stream = moving_square(episodes=20)
    model = make_trainer(stream, IMAGE_CONFIG).model
    window = stream.windows(64, 4, np.random.default_rng(0))
    plain = encode_windows(model, window, torch.Generator().manual_seed(0))
    mixed = encode_windows(model, window, torch.Generator().manual_seed(0), shuffle=True)
    assert torch.equal(plain.mask, mixed.mask)
    moved = 0
    for t in range(4):
        valid = plain.observation_mask[:, t] > 0
        before, after = plain.vector[valid, t], mixed.vector[valid, t]
        assert torch.equal(before.sort(0).values, after.sort(0).values)
        moved += int((before != after).any(1).sum())
    assert moved > 150
    now, earlier = mixed.images["camera"]
    pairs = {(a.tobytes(), b.tobytes()) for a, b in zip(*(x.flatten(0, 1).numpy() for x in (now, earlier)))}
    now, earlier = plain.images["camera"]
    recorded = {
        (a.tobytes(), b.tobytes()) for a, b in zip(*(x.flatten(0, 1).numpy() for x in (now, earlier)))
    }
    assert pairs <= recorded  # an image keeps the image before it


def test_time_shuffled_training_learns_neither_dynamics_nor_actions() -> None:
    stream = linear(episodes=100)
    config = replace(SMALL_CONFIG, batch_size=48)
    diagnostics = {}
    for name in ("time_shuffled", "scrambled"):
        trainer = trained(name, stream, 100, config)
        diagnostics[name] = trainer.diagnose()
    assert diagnostics["time_shuffled"]["inverse_r2"] < 0.1 < diagnostics["scrambled"]["inverse_r2"]
    assert diagnostics["time_shuffled"]["forward_skill_1"] < 0 < diagnostics["scrambled"]["forward_skill_1"]


@pytest.mark.parametrize(
    ("name", "stream", "message"),
    [
        ("nothing", linear(3), "among the baselines"),
        ("scrambled", images_only(moving_square(2)), "expected observations without images"),
        ("normalized", images_only(moving_square(2)), "expected observations without images"),
        ("scrambled", linear(3, axes=20), "at most latent_dim = 16"),
    ],
)
def test_baseline_that_does_not_fit_is_refused(name, stream, message) -> None:
    with pytest.raises(UsageError, match=message):
        trained(name, stream)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "pcaa"}, "pca"),
        ({"encoder_objectives": ("rotation",)}, "rotation"),
        ({"shuffle_time": 1}, "expected True or False"),
    ],
)
def test_invalid_setting_of_the_encoder_is_refused(settings, message) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SMALL_CONFIG, **settings)
