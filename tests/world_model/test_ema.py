"""What is handed out is the average of the weights on the way, and doubtful where it errs."""

from __future__ import annotations

import numpy as np
import torch
from world_model_toys import linear

from robossl.core.statistics import spearman
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

SMALL = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    batch_size=96,
    unroll_steps=3,
)


def learner(updates: int) -> WorldModelTrainer:
    stream = linear(episodes=200)
    made = WorldModelTrainer(
        WorldModel(SMALL, stream.observation_space, stream.action_space), stream, device="cpu"
    )
    made.run(updates)
    return made


def flat(model: torch.nn.Module) -> np.ndarray:
    """All weights in one row."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double().numpy()


def test_it_is_the_average_of_the_weights_on_the_way() -> None:
    taught = learner(0)
    expected = flat(taught.ema_model)
    for n in range(1, 131):
        taught.update()
        share = max(0.01, 9 / (9 + n))
        expected += share * (flat(taught.model) - expected)
    np.testing.assert_allclose(flat(taught.ema_model), expected, atol=1e-5)
    np.testing.assert_array_equal(taught.ema_model.observation_processor.mean, taught.model.observation_processor.mean)


def test_it_knows_better_than_the_weights_of_the_moment_where_it_errs() -> None:
    taught, world = learner(600), linear(episodes=100, seed=9)

    def doubt(model: WorldModel) -> float:
        z, after = model.encode(world.observation[:, :-1]), model.encode(world.observation[:, 1:])
        error = np.square(model.predict(z, world.action) - after).sum(-1)
        return spearman(model.disagreement(z, world.action).reshape(-1), error.reshape(-1))

    assert doubt(taught.ema_model) > max(0.4, doubt(taught.model))
