"""What a model says of its own error: more where more is missed, and never less than its heads disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from world_model_toys import DREAMER, ToyStream, fickle, linear

from robossl.core.statistics import spearman
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer


def made(stream: ToyStream, config: WorldModelConfig, updates: int) -> WorldModel:
    model = WorldModel(config, stream.observation_space, stream.action_space)
    WorldModelTrainer(model, stream, device="cpu").run(updates)
    return model


def test_it_expects_to_err_where_blows_fall_that_nobody_can_foresee() -> None:
    model, unseen = made(fickle(episodes=300), DREAMER, 400), fickle(episodes=50, seed=7)
    z, after = model.encode(unseen.observation[:, :-1]), model.encode(unseen.observation[:, 1:])
    error = np.sqrt(np.square(model.predict(z, unseen.action) - after).mean(-1))  # (E, T)
    expected = model.uncertainty(z, unseen.action)
    assert spearman(expected.reshape(-1), error.reshape(-1)) > 0.6
    for struck in (False, True):
        here = (unseen.observation[:, :-1, 0] > 0) == struck
        assert 0.5 < np.median(error[here]) / np.median(expected[here]) < 1.5


def test_one_head_is_asked_with_gradients_too() -> None:
    stream = linear()
    model = made(stream, replace(DREAMER, ensemble_size=1), 2)
    z = torch.zeros(3, 16, requires_grad=True)
    model.uncertainty(z, torch.zeros(3, 2)).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_it_is_never_below_the_disagreement_and_equals_it_without_the_objective() -> None:
    stream = linear()
    z, action = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32), stream.action[0, :5]
    model = made(stream, DREAMER, 10)
    assert (model.uncertainty(z, action) > model.disagreement(z, action)).all()
    assert model.uncertainty(z[0], stream.action[:4, 0]).shape == (4,)  # one latent, four actions
    plain = made(stream, replace(DREAMER, objectives=("forward", "inverse")), 10)
    np.testing.assert_array_equal(plain.uncertainty(z, action), plain.disagreement(z, action))
