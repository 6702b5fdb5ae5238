"""The predicted uncertainty is larger where errors are larger, and never below the disagreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from world_model_toys import SMALL_CONFIG, ToyStream, impulses, linear, make_trainer

from robossl.core.statistics import spearman
from robossl.world_model import WorldModel, WorldModelConfig


def train(stream: ToyStream, config: WorldModelConfig, updates: int) -> WorldModel:
    trainer = make_trainer(stream, config)
    trainer.run(updates)
    return trainer.ema_model


def test_uncertainty_ranks_and_scales_the_errors_of_random_impulses() -> None:
    model, unseen = train(impulses(episodes=300), SMALL_CONFIG, 400), impulses(episodes=50, seed=7)
    z, after = model.encode(unseen.observation[:, :-1]), model.encode(unseen.observation[:, 1:])
    error = np.sqrt(np.square(model.predict(z, unseen.action) - after).mean(-1))  # (E, T)
    uncertainty = model.uncertainty(z, unseen.action)
    assert spearman(uncertainty.reshape(-1), error.reshape(-1)) > 0.6
    for impulse in (False, True):
        here = (unseen.observation[:, :-1, 0] > 0) == impulse
        assert 0.5 < np.median(error[here]) / np.median(uncertainty[here]) < 1.5


def test_uncertainty_of_a_single_head_has_finite_gradients() -> None:
    model = train(linear(), replace(SMALL_CONFIG, ensemble_size=1), 2)
    z = torch.zeros(3, 16, requires_grad=True)
    model.uncertainty(z, torch.zeros(3, 2)).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_uncertainty_exceeds_the_disagreement_and_equals_it_without_error_prediction() -> None:
    stream = linear()
    z, action = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32), stream.action[0, :5]
    model = train(stream, SMALL_CONFIG, 10)
    assert (model.uncertainty(z, action) > model.disagreement(z, action)).all()
    assert model.uncertainty(z[0], stream.action[:4, 0]).shape == (4,)  # one latent, four actions
    plain = train(stream, replace(SMALL_CONFIG, objectives=("forward", "inverse")), 10)
    np.testing.assert_array_equal(plain.uncertainty(z, action), plain.disagreement(z, action))
