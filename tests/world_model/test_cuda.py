"""What only a GPU can show: a real graph moves the weights as the plain steps do, and all goes on elsewhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from world_model_toys import ToyStream, dots, linear, pictures

from robossl import registry
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.cuda_graph import CudaGraphStep
from robossl.world_model.env import WorldModelEnv

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

SMALL = WorldModelConfig(
    latent_dim=8,
    encoder_hidden=(16,),
    dynamics_hidden=(16,),
    inverse_hidden=(16,),
    decoder_hidden=(16,),
    ensemble_size=2,
    batch_size=24,
    unroll_steps=3,
)


def learner(stream: ToyStream, config: WorldModelConfig, stepping: str = "auto") -> WorldModelTrainer:
    model = WorldModel(config, stream.observation_space, stream.action_space)
    return WorldModelTrainer(model, stream, device="cuda", execution=stepping)


@pytest.mark.parametrize("stream", [linear(), linear(discrete=True), dots()], ids=["box", "discrete", "seen"])
def test_a_graph_moves_the_weights_as_plain_steps_do(stream: ToyStream) -> None:
    config = dataclasses.replace(SMALL, image_size=44)
    plain, played = learner(stream, config, "eager"), learner(stream, config)
    before = {name: value.clone() for name, value in played.model.state_dict().items()}
    for _ in range(3):
        one, other = plain.update(10), played.update(10)
        assert other == pytest.approx(one, rel=2e-2, abs=1e-4)
    assert isinstance(played._train_step, CudaGraphStep)
    assert played._train_step.replay is not None
    for name, value in plain.model.named_parameters():
        after = played.model.get_parameter(name)
        moved = (value - before[name]).norm()
        assert (after - value).norm() <= 0.2 * moved + 1e-5, name


def test_a_checkpoint_goes_on_by_graph_and_the_model_goes_on_elsewhere(tmp_path) -> None:
    stream = linear()
    one, other = learner(stream, SMALL), learner(stream, SMALL)
    one.update(8)
    other.update(2)
    other.set_checkpoint(one.get_checkpoint())
    assert other.update(8) == pytest.approx(one.update(8), rel=2e-2, abs=1e-4)
    one.publish().save(tmp_path / "model")
    here = WorldModel.load(tmp_path / "model", device="cpu")
    stream.observation_space.seed(0)
    observation = np.stack([stream.observation_space.sample() for _ in range(5)])
    there = one.ema_model.encode(observation)
    np.testing.assert_allclose(here.encode(observation), there, atol=1e-3)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_every_objective_is_recorded_but_those_that_draw_on_the_cpu(name: str) -> None:
    objectives = tuple(dict.fromkeys(("forward", "inverse", name)))
    found = learner(pictures("floor", 10), dataclasses.replace(SMALL, image_size=44, objectives=objectives))
    losses = found.update(8)  # a step that cannot be recorded would warn
    assert np.isfinite(list(losses.values())).all()
    assert isinstance(found._train_step, CudaGraphStep)
    assert (found._train_step.replay is None) == (name in {"masked_latent", "inpainting", "sigreg"})


def test_it_learns_and_dreams() -> None:
    stream = linear(episodes=200)
    found = learner(
        stream,
        dataclasses.replace(SMALL, latent_dim=16, encoder_hidden=(64,), dynamics_hidden=(64,), batch_size=64),
    )
    first = found.update(10)
    last = found.run(400)
    assert last["inverse"] < 0.5 * first["inverse"]
    dream = WorldModelEnv(found.publish(), stream, 8, horizon=5)
    dream.reset(seed=0)
    observation, *_ = dream.step(dream.action_space.sample())
    assert np.isfinite(observation).all()
