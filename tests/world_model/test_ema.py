"""The published model is a moving average of the trained weights, with a better uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from world_model_toys import SMALL_CONFIG, linear, make_trainer

from robossl.core.statistics import spearman
from robossl.world_model import WorldModel

CONFIG = replace(SMALL_CONFIG, ensemble_size=5)


def flat_weights(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double().numpy()


def test_ema_model_is_the_moving_average_of_the_trained_weights() -> None:
    trainer = make_trainer(linear(episodes=200), CONFIG)
    expected = flat_weights(trainer.ema_model)
    for n in range(1, 131):
        trainer.update()
        weight = max(0.01, 9 / (9 + n))
        expected += weight * (flat_weights(trainer.model) - expected)
    np.testing.assert_allclose(flat_weights(trainer.ema_model), expected, atol=1e-5)
    means = (m.observation_processor.mean for m in (trainer.ema_model, trainer.model))
    np.testing.assert_array_equal(*means)


def test_disagreement_of_the_average_ranks_errors_better_than_that_of_the_last_weights() -> None:
    trainer, unseen = make_trainer(linear(episodes=200), CONFIG), linear(episodes=100, seed=9)
    trainer.run(600)

    def correlation(model: WorldModel) -> float:
        z, after = model.encode(unseen.observation[:, :-1]), model.encode(unseen.observation[:, 1:])
        error = np.square(model.predict(z, unseen.action) - after).sum(-1)
        return spearman(model.disagreement(z, unseen.action).reshape(-1), error.reshape(-1))

    assert correlation(trainer.ema_model) > max(0.4, correlation(trainer.model))
