"""On a GPU a real CUDA graph trains like eager steps, for every objective that can be captured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from world_model_toys import TINY_CONFIG, ToyStream, linear, make_trainer, moving_square, scenes

from robossl import registry
from robossl.world_model import WorldModel, WorldModelEnv
from robossl.world_model.cuda_graph import CudaGraphStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    "stream", [linear(), linear(discrete=True), moving_square()], ids=["box", "discrete", "images"]
)
def test_graph_changes_the_weights_like_eager_steps(stream: ToyStream) -> None:
    config = replace(TINY_CONFIG, image_size=44)
    eager, graph = (make_trainer(stream, config, device="cuda", execution=e) for e in ("eager", "auto"))
    before = {name: value.clone() for name, value in graph.model.state_dict().items()}
    for _ in range(3):
        expected, losses = eager.update(10), graph.update(10)
        assert losses == pytest.approx(expected, rel=2e-2, abs=1e-4)
    assert isinstance(graph._train_step, CudaGraphStep)
    assert graph._train_step.replay is not None
    for name, value in eager.model.named_parameters():
        change = (value - before[name]).norm()
        assert (graph.model.get_parameter(name) - value).norm() <= 0.2 * change + 1e-5, name


def test_checkpoint_resumes_with_a_graph_and_the_model_loads_on_a_cpu(tmp_path) -> None:
    stream = linear()
    first, second = (make_trainer(stream, TINY_CONFIG, device="cuda") for _ in range(2))
    first.update(8)
    second.update(2)
    second.set_checkpoint(first.get_checkpoint())
    assert second.update(8) == pytest.approx(first.update(8), rel=2e-2, abs=1e-4)
    first.publish().save(tmp_path / "model")
    loaded = WorldModel.load(tmp_path / "model", device="cpu")
    stream.observation_space.seed(0)
    observation = np.stack([stream.observation_space.sample() for _ in range(5)])
    np.testing.assert_allclose(loaded.encode(observation), first.ema_model.encode(observation), atol=1e-3)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_objective_is_captured_unless_it_draws_on_the_cpu(name: str) -> None:
    config = replace(
        TINY_CONFIG, image_size=44, objectives=tuple(dict.fromkeys(("forward", "inverse", name)))
    )
    trainer = make_trainer(scenes("floor", 10), config, device="cuda")
    losses = trainer.update(8)  # a failed capture would warn
    assert np.isfinite(list(losses.values())).all()
    assert isinstance(trainer._train_step, CudaGraphStep)
    assert (trainer._train_step.replay is None) == (name in {"masked_latent", "inpainting", "sigreg"})


def test_training_and_imagined_rollouts_run_on_a_gpu() -> None:
    stream = linear(episodes=200)
    config = replace(TINY_CONFIG, latent_dim=16, encoder_hidden=(64,), dynamics_hidden=(64,), batch_size=64)
    trainer = make_trainer(stream, config, device="cuda")
    first = trainer.update(10)
    last = trainer.run(400)
    assert last["inverse"] < 0.5 * first["inverse"]
    env = WorldModelEnv(trainer.publish(), stream, 8, horizon=5)
    env.reset(seed=0)
    observation, *_ = env.step(env.action_space.sample())
    assert np.isfinite(observation).all()
